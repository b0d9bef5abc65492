"""Trainers on recorded disks, and what they come to after a loss of power."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.trainer.disk_model import History, Tree, lay_out
from tests.trainer.power_loss import Recorder, paused, recording
from tests.trainer.power_loss_session import (
    RECORDS,
    REPEATED,
    Said,
    Tell,
    assert_recovered,
    start_trainer,
    write_world,
)

INDEX = "index.sqlite"


@dataclass
class Tape:
    """What was done to a disk, and what the world was told after how many steps."""

    history: History = field(default_factory=History)
    told: list[tuple[int, Tell]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.history.steps)

    def until(self, end: int) -> "Tape":
        return Tape(self.history.until(end), [each for each in self.told if each[0] <= end])

    def said(self, end: int) -> Said:
        said = Said()
        for when, tell in self.told:
            if when <= end:
                tell(said)
        return said


class Laboratory:
    """Starts trainers on disks that are laid out for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._disks = 0
        self._world, self._repeating = folder / "world", folder / "repeating"
        write_world(self._world, RECORDS)
        write_world(self._repeating, REPEATED)

    def _disk(self, tree: Tree) -> Path:
        self._disks += 1
        disk = self._folder / str(self._disks)
        lay_out(tree, disk)
        return disk

    def record(
        self, tape: Tape, *, once: bool = False, before_sync: Callable[[], bool] = lambda: True
    ) -> Path:
        """Start a trainer on what the tape leaves, as after a kill, and go on with the tape."""
        disk = self._disk(tape.history.tree(len(tape)))
        said = tape.said(len(tape))

        def say(tell: Tell) -> None:
            with paused() as recorder:
                tape.told.append((recorder.look(), tell))
            tell(said)

        recorder = Recorder(disk, tape.history, derived=INDEX, before_sync=before_sync)
        with recording(recorder):
            start_trainer(disk, self._world, say, once=once)
        return disk

    def recover(
        self, tree: Tree, index: dict[str, bytes], said: Said, *, repeated: bool = False
    ) -> None:
        """Start a trainer on what a loss of power has left, and hold the end against all said.

        `repeated`: every pair comes once more.
        """
        disk = self._disk(tree)
        for name, content in index.items():
            if (disk / name).parent.is_dir():
                (disk / name).write_bytes(content)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: None)
            world = self._repeating if repeated else self._world
            start_trainer(disk, world, said.hear, once=True)
        assert_recovered(disk, said, REPEATED if repeated else RECORDS)
        shutil.rmtree(disk)
