"""The driver of trainings as a process that is killed where a test wants it, and what it left."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import cast

from schemas.crash_points import VARIABLE
from schemas.rows import TrainingStepName
from schemas.training_states import may_follow, state_after

REPOSITORY = Path(__file__).parents[2]


def train(
    root: Path, *, crash_at: str = "", arguments: str = "", failing: bool = False, **settings: str
) -> int:
    """`failing`: a training may fail, and the driver say so."""
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
    said = failing and "a training failed: " in done.stderr
    assert said or done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def started(root: Path) -> list[str]:
    return [line.split()[0] for line in (root / "starts").read_text().splitlines()]


def assert_trained(models: Path, name: str) -> None:
    """Manifest, archive and nothing half done."""
    manifest = json.loads((models / name / "manifest.json").read_bytes())
    assert manifest["exit_code"] == 0
    assert manifest["figures"]["final_loss"] == 0.5
    for path, digest in manifest["files"].items():
        assert hashlib.sha256((models / name / path).read_bytes()).hexdigest() == digest
    assert {path.name for path in (models / name).iterdir()} == {
        "README.md", "adapter", "context", "manifest.json", "metrics.jsonl", "result.json",
        "steps.jsonl", "training.log",
    }  # fmt: skip
    packed = models / f"{name}.tar.gz"
    told, _, file = (models / f"{name}.tar.gz.sha256").read_text().strip().partition("  ")
    assert (told, file) == (hashlib.sha256(packed.read_bytes()).hexdigest(), packed.name)
    with tarfile.open(packed) as tar:
        assert set(tar.getnames()) == {f"{name}/{path}" for path in manifest["files"]} | {
            f"{name}/manifest.json"
        }
    assert not list(models.glob(".*"))


def told_of(root: Path, training_id: str) -> list[TrainingStepName]:
    """Its steps, as they were told one after another."""
    lines = [line.split() for line in (root / "steps").read_text().splitlines()]
    return [cast("TrainingStepName", step) for told, step, _ in lines if told == training_id]


def assert_lawful(root: Path) -> None:
    """Each step may follow the one before it, whoever was killed in between."""
    for folder in (root / "models").glob("dpo-*/"):
        state: TrainingStepName | None = None
        for step in told_of(root, folder.name):
            assert may_follow(state, step), (folder.name, state, step)
            state = state_after(state, step)
