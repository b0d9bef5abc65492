"""In which dataset of a data directory a pair stands; reads little, however large they are."""

import os
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from pairstream.training_facts import TrainingFacts, read_trainings
from trainer.datasets import (
    EVAL,
    ID_END,
    LEFT_OUT,
    LINE_START,
    TRAIN,
    read_manifest,
    uncut,
)
from trainer.forgotten import forgotten_runs
from trainer.layout import DataDir
from trainer.left_out import LeftOut
from trainer.segments import list_segments
from trainer.selection import Reason


class DatasetPlace(Struct, frozen=True):
    """A dataset's file that holds the pair, and what was trained on the dataset."""

    dataset: str
    file: str
    trainings: list[TrainingFacts]


class LeftOutPlace(Struct, frozen=True):
    """The newest dataset that did not take the pair, and why; it may wait for the next one."""

    dataset: str
    reason: Reason
    waits: bool


class PairPlaces:
    """Looks pairs up in one data directory as it is now."""

    def __init__(self, data: DataDir) -> None:
        names = data.dataset_names()
        self._files = [data.datasets / name / file for name in names for file in (TRAIN, EVAL)]
        lists = (data.datasets / name / LEFT_OUT for name in reversed(names))
        self._lists = [path for path in lists if path.exists()]
        newest = read_manifest(data.datasets / names[-1]) if names else None
        waiting = uncut(list_segments(data.segments), newest)
        self._waiting = [data.segments / segment.path for segment in waiting]
        self._trainings = list(read_trainings(data))
        self._forgotten = forgotten_runs(data)

    def forgotten(self, run_id: str) -> datetime | None:
        """Since when no new dataset takes the run's pairs."""
        return self._forgotten.get(run_id)

    def dataset(self, pair_id: str) -> DatasetPlace | None:
        """The one dataset in which it stands."""
        for path in self._files:
            if find_sorted(path, pair_id) is not None:
                name = path.parent.name
                trainings = [t for t in self._trainings if t.dataset == name]
                return DatasetPlace(name, path.name, trainings)
        return None

    def left_out(self, pair_id: str) -> LeftOutPlace | None:
        """Where it stands in no dataset, although there was one that it was a candidate of."""
        for path in self._lists:
            line = find_sorted(path, pair_id)
            if line is not None:
                left = msgspec.json.decode(line, type=LeftOut)
                return LeftOutPlace(path.parent.name, left.reason, left.waits)
        return None

    def is_waiting(self, pair_id: str) -> bool:
        """Whether the trainer has taken it in for the next dataset."""
        start = LINE_START + pair_id.encode()
        for path in self._waiting:
            with path.open("rb") as lines:
                if any(line.startswith(start) for line in lines):
                    return True
        return False


def find_sorted(path: Path, pair_id: str) -> bytes | None:
    """The pair's line in a file of a dataset: halves it until one line is left."""
    wanted = LINE_START + pair_id.encode()
    with path.open("rb") as file:
        low, high = 0, os.fstat(file.fileno()).st_size
        while low < high:
            middle = (low + high) // 2
            found = _line_from(file, middle)[:ID_END]
            if found and found < wanted:
                low = middle + 1
            else:
                high = middle
        line = _line_from(file, low)
        return line if line[:ID_END] == wanted else None


def _line_from(file: BinaryIO, place: int) -> bytes:
    """The first line that begins at the place or after it; empty at the end of the file."""
    if place:
        file.seek(place - 1)
        file.readline()
    else:
        file.seek(0)
    return file.readline()
