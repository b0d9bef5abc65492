"""A data directory that was copied while its trainer worked, then lost: nothing is lost by it."""

import shutil
from pathlib import Path

import pytest

from schemas.topics import PAIRS
from tests.commands.deployment import first_time_run, mixed_run
from tests.conftest import Pairstream
from tests.verify.healthy import Damageable, findings, live_through
from trainer.datasets import read_manifest
from trainer.latest import read_latest
from trainer.layout import DataDir

# docs/upgrade-and-backup.md
ORDER = ("datasets", "segments", "source.json", "models", "rewritten", "forgotten.jsonl")

# Taken in, and in no dataset yet; in the one and in the other.
WAITING, IN_DATASET = "m-4", "m-2"


@pytest.fixture
def deployment(embedded_broker: str, prefix: str, tmp_path: Path) -> Damageable:
    return Damageable(embedded_broker, prefix, tmp_path / "data")


def copy(name: str, *, of: Path, to: Path) -> None:
    to.mkdir(exist_ok=True)
    if (of / name).is_dir():
        shutil.copytree(of / name, to / name, symlinks=True)
    else:
        shutil.copy2(of / name, to / name)


def test_a_restored_copy_goes_on_and_verify_holds(
    deployment: Damageable, tmp_path: Path, pairstream: Pairstream
) -> None:
    _, second = live_through(deployment)
    deployment.run("forget", WAITING, IN_DATASET, "--yes", "--rewrite")
    root, backup = deployment.data.root, tmp_path / "backup"
    copy(ORDER[0], of=root, to=backup)
    # The trainer works on: a dataset comes that the copy does not hold, of segments that it does.
    deployment.say(*mixed_run("m-5"), *first_time_run("f-5"))
    settle(deployment)
    deployment.cut(second)
    for name in ORDER[1:]:
        copy(name, of=root, to=backup)
    # And on, with what only the topic keeps.
    deployment.say(*mixed_run("m-6"))
    settle(deployment)
    pairs = len(deployment.records(deployment.names.topic(PAIRS)))
    assert findings(deployment.verify("--data-dir", backup)) == {}

    shutil.rmtree(root)
    shutil.copytree(backup, root, symlinks=True)
    words = ("trainer", "--once", "--launcher", "none", "--trigger-pairs", "1")
    pairstream(*words, "--eval-fraction", "0", env=deployment.env)

    report = deployment.verify()
    assert findings(report) == {}
    again = DataDir(root)
    assert again.dataset_names() == ["ds-000001", "ds-000002", "ds-000003"]
    lines = [
        line
        for name in again.dataset_names()
        for line in (again.datasets / name / "train.jsonl").read_bytes().splitlines()
    ]
    assert len(lines) == len(set(lines)) == pairs - 1
    assert not [line for line in lines if f'"run_id":"{WAITING}"'.encode() in line]
    [rewritten] = (root / "rewritten").iterdir()
    assert read_manifest(rewritten).parent == "ds-000002"
    assert read_latest(again.models) == "dpo-ds-000001"


def test_the_page_names_the_order_that_is_tested() -> None:
    page = (Path(__file__).parents[2] / "docs" / "upgrade-and-backup.md").read_text()

    assert f"\nfor NAME in {' '.join(ORDER)}; do\n" in page


def settle(deployment: Damageable) -> None:
    deployment.settle()
    deployment.garble()
    deployment.take_in()
