"""The trainer killed at every step of a training: the script runs once, the model is archived."""

import json
import os
import shlex
import signal
import sys
import threading
from pathlib import Path

import pytest

from schemas.errors import PairstreamError
from schemas.rows import TrainingStepName
from schemas.settings import TrainerSettings
from tests.crash_points import crash_points
from tests.trainer.driven import assert_lawful, assert_trained, started, train
from tests.trainer.judged import REFUSED
from tests.trainer.lives import whole_life
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import make_base_model, publish, stand_in_context
from tests.trainer.trainings_driver import FileOutbox
from tests.waiting import wait_for
from trainer import training
from trainer.latest import change_by_user, read_history, read_latest
from trainer.training_manifest import read_training
from trainer.trainings import Trainings

pytestmark = pytest.mark.long

# What interrupts a training, or lets it take too long, is in test_process_kills.py; only who is
# asked to cancels one.
ELSEWHERE = ["training.put_back", "training.late"]
CANCEL_POINTS = ["training.never_started", "training.stopped"]
POINTS = [
    point
    for point in crash_points("training.")
    if point not in ELSEWHERE and point not in CANCEL_POINTS
]


def test_every_step_of_a_training_has_a_crash_point_of_its_own() -> None:
    assert len(POINTS) == len(set(POINTS))
    assert len(POINTS) >= 20


@pytest.mark.parametrize("point", POINTS)
def test_a_trainer_killed_at_a_step_has_each_dataset_trained_once(
    point: str, tmp_path: Path
) -> None:
    make_base_model(tmp_path / "base")
    publish(tmp_path, make_pairs(3))
    publish(tmp_path, make_pairs(3, mark="s"), first=4)

    assert train(tmp_path, crash_at=f"{point}:1") == -signal.SIGKILL
    assert train(tmp_path) == 0

    assert_both_trained(tmp_path)
    assert_told(tmp_path, "promoted")
    assert read_latest(tmp_path / "models") == "dpo-ds-000002"
    told = [(each.training_id, each.before) for each in read_history(tmp_path / "models")]
    assert told == [("dpo-ds-000001", None), ("dpo-ds-000002", "dpo-ds-000001")]


@pytest.mark.parametrize("point", [
    "training.script_ended", "training.judged", "training.ended", "training.archived",
    "training.gate_told", "training.cleaned_up",
])  # fmt: skip
def test_what_the_gate_refused_is_kept_and_never_latest_wherever_the_trainer_is_killed(
    point: str, tmp_path: Path
) -> None:
    make_base_model(tmp_path / "base")
    publish(tmp_path, make_pairs(3))
    publish(tmp_path, make_pairs(3, mark="s"), first=4)
    refused = f"--result {shlex.quote(REFUSED)}"

    assert train(tmp_path, crash_at=f"{point}:1", arguments=refused) == -signal.SIGKILL
    assert train(tmp_path, arguments=refused) == 0

    assert_both_trained(tmp_path)
    assert_told(tmp_path, "refused")
    assert read_latest(tmp_path / "models") is None
    assert read_history(tmp_path / "models") == []


@pytest.mark.parametrize("point", ["training.latest", "training.gate_told"])
def test_what_a_user_changed_before_the_trainer_came_back_stays(point: str, tmp_path: Path) -> None:
    make_base_model(tmp_path / "base")
    publish(tmp_path, make_pairs(3))
    models = publish(tmp_path, make_pairs(3, mark="s"), first=4).models

    assert train(tmp_path, crash_at=f"{point}:2") == -signal.SIGKILL
    assert read_latest(models) == "dpo-ds-000002"
    told = (tmp_path / "steps").read_text().splitlines()
    change_by_user(models, "dpo-ds-000001", "rolled_back", "it loops")
    assert train(tmp_path) == 0

    assert read_latest(models) == "dpo-ds-000001"
    assert len(read_history(models)) == 3
    assert (tmp_path / "steps").read_text().splitlines() == [
        *told,
        *(f"dpo-ds-000002 {step} ds-000002" for step in ("gated", "archived", "cleaned")),
        "dpo-ds-000002 succeeded ds-000002",
    ]


@pytest.mark.parametrize("point", ["training.judged", "training.ended"])
def test_a_users_gate_is_asked_again_until_its_verdict_is_written(
    point: str, tmp_path: Path
) -> None:
    make_base_model(tmp_path / "base")
    publish(tmp_path, make_pairs(3))
    asked = tmp_path / "asked"
    code = f"import sys; open({str(asked)!r}, 'a').write('asked\\n'); sys.exit('not good enough')"
    command = shlex.join([sys.executable, "-c", code])
    gate = {"PAIRSTREAM_GATE_COMMAND": command}

    assert train(tmp_path, crash_at=point, **gate) == -signal.SIGKILL
    assert train(tmp_path, **gate) == 0

    assert asked.read_text().split() == ["asked"] * (2 if point == "training.judged" else 1)
    manifest = read_training(tmp_path / "models" / "dpo-ds-000001")
    assert manifest is not None
    assert manifest.gate is not None
    assert manifest.gate.told == "command: not good enough"
    assert read_latest(tmp_path / "models") is None
    assert (tmp_path / "models" / "dpo-ds-000001.tar.gz").is_file()


def assert_both_trained(root: Path) -> None:
    assert started(root) == ["started", "ended"] * 2
    for name in ("dpo-ds-000001", "dpo-ds-000002"):
        assert_trained(root / "models", name)


def assert_told(root: Path, verdict: TrainingStepName) -> None:
    """Every step of both trainings, in order, though perhaps twice."""
    assert_lawful(root)
    assert list(dict.fromkeys((root / "steps").read_text().splitlines())) == [
        f"dpo-{dataset} {step} {dataset}"
        for dataset in ("ds-000001", "ds-000002")
        for step in whole_life(verdict, progress=True)
    ]


def test_a_script_killed_as_for_memory_fails_its_training_and_the_next_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "training_context", stand_in_context)
    monkeypatch.setattr(training, "POLL_SECONDS", 0.02)
    make_base_model(tmp_path / "base")
    publish(tmp_path, make_pairs(3))
    data = publish(tmp_path, make_pairs(3, mark="s"), first=4)
    starts, gate = tmp_path / "starts", tmp_path / "gate"
    settings = TrainerSettings(
        data_dir=tmp_path,
        launcher="process",
        training_python=sys.executable,
        base_model=str(tmp_path / "base"),
        training_args=f"--starts {starts} --until {gate}",
    )
    with Trainings(data, settings, "d1", FileOutbox(tmp_path / "steps"), once=True) as thread:
        wait_for(lambda: starts.exists() and starts.read_text().endswith("\n"))
        os.kill(int(starts.read_text().split()[1]), signal.SIGKILL)
        gate.touch()
        with pytest.raises(PairstreamError, match="dpo-ds-000001: it was killed, most often for"):
            thread.wait(threading.Event())

    manifest = json.loads((data.models / "dpo-ds-000001" / "manifest.json").read_bytes())
    assert manifest["exit_code"] == 137
    assert manifest["interruptions"] == 0
    assert "want of memory" in manifest["why"]
    assert started(tmp_path) == ["started", "started", "ended"]
    assert_trained(data.models, "dpo-ds-000002")
    failed: list[TrainingStepName] = [
        "requested", "building", "started", "finished", "cleaned", "failed"
    ]  # fmt: skip
    assert (tmp_path / "steps").read_text().splitlines() == [
        *(f"dpo-ds-000001 {step} ds-000001" for step in failed),
        *(f"dpo-ds-000002 {step} ds-000002" for step in whole_life(progress=True)),
    ]
