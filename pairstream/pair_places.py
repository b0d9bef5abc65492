"""In which dataset of a data directory a pair stands; reads little, however large they are."""

import os
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from pairstream.data_facts import TrainingFacts, read_trainings
from trainer.datasets import EVAL, TRAIN, read_manifest, uncut
from trainer.layout import DataDir
from trainer.segments import list_segments

# Every line of a dataset and of a segment begins so, and lines of a dataset stand in the order of
# pair_id (contract, section 5).
_START = b'{"pair_id":"'
_ID_END = len(_START) + 32


class DatasetPlace(Struct, frozen=True):
    """A dataset's file that holds the pair, and what was trained on the dataset."""

    dataset: str
    file: str
    trainings: list[TrainingFacts]


class PairPlaces:
    """Looks pairs up in one data directory as it is now."""

    def __init__(self, data: DataDir) -> None:
        names = data.dataset_names()
        self._files = [data.datasets / name / file for name in names for file in (TRAIN, EVAL)]
        newest = read_manifest(data.datasets / names[-1]) if names else None
        waiting = uncut(list_segments(data.segments), newest)
        self._waiting = [data.segments / segment.path for segment in waiting]
        self._trainings = list(read_trainings(data))

    def dataset(self, pair_id: str) -> DatasetPlace | None:
        """The one dataset in which it stands."""
        for path in self._files:
            if holds_sorted(path, pair_id):
                name = path.parent.name
                trainings = [t for t in self._trainings if t.dataset == name]
                return DatasetPlace(name, path.name, trainings)
        return None

    def is_waiting(self, pair_id: str) -> bool:
        """Whether the trainer has taken it in for the next dataset."""
        start = _START + pair_id.encode()
        for path in self._waiting:
            with path.open("rb") as lines:
                if any(line.startswith(start) for line in lines):
                    return True
        return False


def holds_sorted(path: Path, pair_id: str) -> bool:
    """Whether a file of a dataset holds the pair: halves it until one line is left."""
    wanted = _START + pair_id.encode()
    with path.open("rb") as file:
        low, high = 0, os.fstat(file.fileno()).st_size
        while low < high:
            middle = (low + high) // 2
            found = _line_from(file, middle)[:_ID_END]
            if found and found < wanted:
                low = middle + 1
            else:
                high = middle
        return _line_from(file, low)[:_ID_END] == wanted


def _line_from(file: BinaryIO, place: int) -> bytes:
    """The first line that begins at the place or after it; empty at the end of the file."""
    if place:
        file.seek(place - 1)
        file.readline()
    else:
        file.seek(0)
    return file.readline()
