"""The trainer killed at every step of a training: the script runs once, the model is archived."""

import hashlib
import json
import os
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
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import make_base_model, publish, stand_in_context
from tests.trainer.trainings_driver import FileOutbox
from tests.trainer.waiting import wait_for
from trainer import training
from trainer.trainings import Trainings

REPOSITORY = Path(__file__).parents[2]

# Only a Docker Engine interrupts a training.
POINTS = [point for point in crash_points("training.") if point != "training.put_back"]


def train(root: Path, *, crash_at: str = "") -> int:
    arguments = f"--starts {root / 'starts'}"
    done = subprocess.run(
        [sys.executable, "-m", "tests.trainer.trainings_driver", root, root / "base", arguments],
        env={**os.environ, VARIABLE: crash_at},
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
    assert len(POINTS) >= 13


@pytest.mark.parametrize("point", POINTS)
def test_a_trainer_killed_at_a_step_has_each_dataset_trained_once(
    point: str, tmp_path: Path
) -> None:
    make_base_model(tmp_path / "base")
    publish(tmp_path, make_pairs(3))
    publish(tmp_path, make_pairs(3, mark="s"), first=4)

    assert train(tmp_path, crash_at=f"{point}:1") == -signal.SIGKILL
    assert train(tmp_path) == 0

    assert started(tmp_path) == ["started", "ended"] * 2
    for name in ("dpo-ds-000001", "dpo-ds-000002"):
        assert_trained(tmp_path / "models", name)
    assert (tmp_path / "models" / "latest").readlink() == Path("dpo-ds-000002")
    assert list(dict.fromkeys((tmp_path / "steps").read_text().splitlines())) == [
        f"dpo-{dataset} {step} {dataset}"
        for dataset in ("ds-000001", "ds-000002")
        for step in ("requested", "started", "succeeded")
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
        "dpo-ds-000002 succeeded ds-000002",
    ]


def assert_trained(models: Path, name: str) -> None:
    """Manifest, archive and nothing half done."""
    manifest = json.loads((models / name / "manifest.json").read_bytes())
    assert manifest["exit_code"] == 0
    assert manifest["figures"] == {"final_loss": 0.5}
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
