"""The trainer killed at every step of a training: the script runs once, the model is archived."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from schemas.crash_points import VARIABLE
from tests.crash_points import crash_points
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import make_base_model, publish

REPOSITORY = Path(__file__).parents[2]

POINTS = crash_points("training.")


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


def assert_trained(models: Path, name: str) -> None:
    """Manifest, archive and nothing half done."""
    manifest = json.loads((models / name / "manifest.json").read_bytes())
    assert manifest["exit_code"] == 0
    assert manifest["figures"] == {"final_loss": 0.5}
    for path, digest in manifest["files"].items():
        assert hashlib.sha256((models / name / path).read_bytes()).hexdigest() == digest
    assert {path.name for path in (models / name).iterdir()} == {
        "adapter", "context", "manifest.json", "metrics.jsonl", "result.json", "training.log"
    }  # fmt: skip
    packed = models / f"{name}.tar.gz"
    told, _, file = (models / f"{name}.tar.gz.sha256").read_text().strip().partition("  ")
    assert (told, file) == (hashlib.sha256(packed.read_bytes()).hexdigest(), packed.name)
    with tarfile.open(packed) as tar:
        assert set(tar.getnames()) == {f"{name}/{path}" for path in manifest["files"]} | {
            f"{name}/manifest.json"
        }
    assert not list(models.glob(".*"))
