"""The trainer killed at every step of a training: the script runs once, the model is archived."""

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from schemas.crash_points import VARIABLE
from schemas.errors import PairstreamError
from schemas.settings import TrainerSettings
from tests.crash_points import crash_points
from tests.trainer.judged import REFUSED
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import make_base_model, publish, stand_in_context
from tests.trainer.trainings_driver import FileOutbox
from tests.trainer.waiting import wait_for
from trainer import training
from trainer.latest import change_by_user, read_history, read_latest
from trainer.training_manifest import read_training
from trainer.trainings import Trainings

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).parents[2]

# Only a Docker Engine interrupts a training.
POINTS = [point for point in crash_points("training.") if point != "training.put_back"]


def train(root: Path, *, crash_at: str = "", arguments: str = "", **settings: str) -> int:
    arguments = f"--starts {root / 'starts'} {arguments}"
    done = subprocess.run(
        [sys.executable, "-m", "tests.trainer.trainings_driver", root, root / "base", arguments],
        env={**os.environ, **settings, VARIABLE: crash_at},
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def started(root: Path) -> list[str]:
    return [line.split()[0] for line in (root / "starts").read_text().splitlines()]


def test_every_step_of_a_training_has_a_crash_point_of_its_own() -> None:
    assert len(POINTS) == len(set(POINTS))
    assert len(POINTS) >= 16


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
        *told, "dpo-ds-000002 succeeded ds-000002"
    ]  # fmt: skip


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


def assert_told(root: Path, verdict: str) -> None:
    """Every step of both trainings, in order, though perhaps twice."""
    assert list(dict.fromkeys((root / "steps").read_text().splitlines())) == [
        f"dpo-{dataset} {step} {dataset}"
        for dataset in ("ds-000001", "ds-000002")
        for step in ("requested", "started", verdict, "succeeded")
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
    assert (tmp_path / "steps").read_text().splitlines() == [
        "dpo-ds-000001 requested ds-000001",
        "dpo-ds-000001 started ds-000001",
        "dpo-ds-000001 failed ds-000001",
        "dpo-ds-000002 requested ds-000002",
        "dpo-ds-000002 started ds-000002",
        "dpo-ds-000002 promoted ds-000002",
        "dpo-ds-000002 succeeded ds-000002",
    ]


def assert_trained(models: Path, name: str) -> None:
    """Manifest, archive and nothing half done."""
    manifest = json.loads((models / name / "manifest.json").read_bytes())
    assert manifest["exit_code"] == 0
    assert manifest["figures"]["final_loss"] == 0.5
    for path, digest in manifest["files"].items():
        assert hashlib.sha256((models / name / path).read_bytes()).hexdigest() == digest
    assert {path.name for path in (models / name).iterdir()} == {
        "README.md", "adapter", "context", "manifest.json", "metrics.jsonl", "result.json",
        "training.log",
    }  # fmt: skip
    packed = models / f"{name}.tar.gz"
    told, _, file = (models / f"{name}.tar.gz.sha256").read_text().strip().partition("  ")
    assert (told, file) == (hashlib.sha256(packed.read_bytes()).hexdigest(), packed.name)
    with tarfile.open(packed) as tar:
        assert set(tar.getnames()) == {f"{name}/{path}" for path in manifest["files"]} | {
            f"{name}/manifest.json"
        }
    assert not list(models.glob(".*"))
