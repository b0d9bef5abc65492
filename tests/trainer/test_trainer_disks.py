"""`pairstream trainer` on disks that are full, read-only or limited."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Pairstream
from tests.trainer.deployment import Deployment
from tests.trainer.invariants import all_lines, assert_sound, datasets, snapshot
from tests.trainer.made_pairs import line, make_pairs

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
