"""`pairstream trainer` on disks that are full, read-only, limited or broken."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from tests.conftest import Pairstream
from tests.trainer.deployment import Deployment
from tests.trainer.failing_disk import DiskFailure, Kind, failing_disk
from tests.trainer.invariants import all_lines, assert_datasets, assert_sound, datasets, snapshot
from tests.trainer.made_pairs import line, make_pairs
from tests.trainer.power_loss_session import (
    DATA,
    RECORDS,
    Said,
    ScriptInProcess,
    assert_recovered,
    start_trainer,
    write_world,
)
from trainer import training, trainings
from trainer.image import BuildContext

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).parents[2]
MADE = make_pairs(30)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted disk of 384 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=384k", "tmpfs", str(path)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


def test_a_full_disk_ends_the_trainer_with_one_line_and_it_goes_on_when_there_is_room(
    embedded_broker: str, prefix: str, small_disk: Path, pairstream: Pairstream
) -> None:
    deployment = Deployment(embedded_broker, prefix, small_disk / "data", pairstream)
    pairs = make_pairs(600)
    deployment.send(pairs)

    line_told = deployment.refused("--trigger-pairs", 1)
    assert "No space left on device" in line_told or "disk is full" in line_told
    assert "make room" in line_told
    assert datasets(deployment.root) == []

    remount(small_disk, "size=64m")
    deployment.trainer("--trigger-pairs", 1)
    assert sorted(all_lines(deployment.root)) == sorted(map(line, pairs))
    assert_sound(deployment.root, ends=deployment.ends())


def test_a_disk_that_became_read_only_ends_the_trainer_with_one_line(
    embedded_broker: str, prefix: str, small_disk: Path, pairstream: Pairstream
) -> None:
    deployment = Deployment(embedded_broker, prefix, small_disk / "data", pairstream)
    deployment.send(MADE)
    deployment.trainer("--trigger-pairs", 1)
    before = snapshot(deployment.root)
    remount(small_disk, "ro")

    assert "Read-only file system" in deployment.refused()
    remount(small_disk, "rw")
    assert snapshot(deployment.root) == before


@pytest.mark.parametrize("share", [0.02, 0.2, 0.6])
def test_files_that_cannot_grow_leave_nothing_half_published(
    share: float, deployment: Deployment
) -> None:
    pairs = make_pairs(300)
    deployment.send(pairs)
    size = sum(len(line(pair)) for pair in pairs)
    command = f"ulimit -f {int(share * size / 1024)}; exec {sys.executable} -m pairstream"
    limited = subprocess.run(
        ["bash", "-c", f"{command} trainer --once --trigger-pairs 1"],
        env={**os.environ, **deployment.env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert limited.returncode == 1
    assert "Traceback" not in limited.stderr
    assert datasets(deployment.root) == []

    deployment.trainer("--trigger-pairs", 1)
    assert sorted(all_lines(deployment.root)) == sorted(map(line, pairs))
    assert_sound(deployment.root, ends=deployment.ends())


@pytest.fixture
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for disks, in memory where that can be: SQLite's own fsyncs take no time there."""
    monkeypatch.setattr(training, "training_context", lambda: BuildContext({"Dockerfile": b""}))
    monkeypatch.setattr(trainings, "make_launcher", lambda _, venv: ScriptInProcess(venv))
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize(
    ("kind", "error", "at_least"),
    [
        ("fsync", errno.EIO, 50),
        ("write", errno.ENOSPC, 15),
        ("change", errno.ENOSPC, 60),
        ("change", errno.EROFS, 60),
    ],
)
def test_wherever_the_disk_fails_the_trainer_ends_and_the_next_one_goes_on(
    kind: Kind, error: int, at_least: int, disks: Path
) -> None:
    write_world(disks, RECORDS)
    for number in count(1):
        disk = disks / "disk"
        said = Said()
        with failing_disk(disk, kind, number, error) as failing, suppress(DiskFailure):
            start_trainer(disk, disks, said.hear, once=False)
            break
        assert_datasets(disk / DATA)
        start_trainer(disk, disks, said.hear, once=True)
        assert_recovered(disk, said, RECORDS)
        shutil.rmtree(disk)
    assert not failing.failed
    assert number > at_least


@pytest.mark.parametrize(
    ("where", "number"),
    [(".source", 1), ("segments", 1), ("segments", 3), ("datasets", 1), ("datasets", 5)],
)
def test_an_fsync_that_fails_ends_the_trainer_with_one_line(
    where: str, number: int, deployment: Deployment
) -> None:
    deployment.send(MADE)
    command = [
        sys.executable, "-m", "tests.trainer.failing_disk",
        deployment.root / where, "fsync", number, errno.EIO,
        "trainer", "--once", "--trigger-pairs", 1,
    ]  # fmt: skip
    failed = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **deployment.env},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    told = [each for each in failed.stderr.splitlines() if each.startswith("pairstream: ")]
    assert failed.returncode == 1, failed.stderr
    assert len(told) == 1
    assert "Input/output error" in told[0]
    assert "mend the disk" in told[0]
    assert "Traceback" not in failed.stderr
    assert "dataset_published" not in failed.stderr

    deployment.trainer("--trigger-pairs", 1)
    assert sorted(all_lines(deployment.root)) == sorted(map(line, MADE))
    assert_sound(deployment.root, ends=deployment.ends())
