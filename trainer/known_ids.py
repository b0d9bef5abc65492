"""Which pair_ids are known: sorted files that are mapped into memory and merged as they grow.

A log-structured merge: each file is several times as large as the next, so there are few, and an id
is written again only a few times. What is mapped is the page cache's, which takes it back when
memory is short; of our own there is none that grows with the ids.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.crash_points import crash_point
from trainer.layout import sync_folder

ID_BYTES = 16

# A file is merged with the next one unless it is more than so many times as large.
GROWTH = 4

# Merged at once, so that memory is bounded.
IDS_AT_ONCE = 500_000

_NAME = re.compile(r"(\d{10})-(\d{10})\.ids")

Ids = NDArray[np.bytes_]


@dataclass(frozen=True)
class _File:
    """The ids of batches `first` to `last`, sorted."""

    path: Path
    first: int
    last: int
    ids: Ids


class KnownIds:
    """Ids of 16 bytes, which are added in numbered batches, from 1.

    Guarantee: after a crash it knows whole batches, from the first to `batches`. A folder that is
    not in order is emptied.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._files = list(_load(folder))
        if not _is_complete(self._files):
            self._files = []
            for path in folder.iterdir():
                path.unlink()

    @property
    def batches(self) -> int:
        return self._files[-1].last if self._files else 0

    def known(self, ids: Sequence[bytes]) -> set[bytes]:
        """Those of the ids that were added."""
        asked = np.sort(_array(ids))
        found: set[bytes] = set()
        for file in self._files:
            place = np.searchsorted(file.ids, asked)
            inside = place < len(file.ids)
            alike = file.ids[place[inside]] == asked[inside]
            there = asked[inside][alike].tobytes()
            found.update(there[at : at + ID_BYTES] for at in range(0, len(there), ID_BYTES))
        return found

    def add(self, ids: Sequence[bytes], *, through: int) -> None:
        """The next batches, up to `through`. Afterwards they survive a loss of power."""
        first, last = self.batches + 1, through
        batch = np.sort(_array(ids))
        size, merged = len(batch), list[_File]()
        while self._files and len(self._files[-1].ids) <= GROWTH * size:
            merged.append(self._files.pop())
            first, size = merged[-1].first, size + len(merged[-1].ids)
        self._files.append(self._write(first, last, [*(file.ids for file in merged), batch]))
        for file in merged:
            file.path.unlink()
        crash_point("trainer.ids_merged")

    def _write(self, first: int, last: int, parts: list[Ids]) -> _File:
        path = self._folder / f"{first:010d}-{last:010d}.ids"
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            for ids in _merged(parts):
                file.write(ids.tobytes())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(self._folder)
        crash_point("trainer.ids_written")
        return _File(path, first, last, _mapped(path))


def _load(folder: Path) -> Iterator[_File]:
    """The files, without those that were merged into another one before a crash."""
    found = []
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if match is None or path.stat().st_size % ID_BYTES:
            path.unlink()
        else:
            found.append((int(match[1]), -int(match[2]), path))
    end = 0
    for first, negative_last, path in sorted(found):
        if -negative_last <= end:
            path.unlink()
        else:
            end = -negative_last
            yield _File(path, first, end, _mapped(path))


def _is_complete(files: Iterable[_File]) -> bool:
    end = 0
    for file in files:
        if file.first != end + 1:
            return False
        end = file.last
    return True


def _mapped(path: Path) -> Ids:
    if not path.stat().st_size:
        return _array([])  # what cannot be mapped
    return np.memmap(path, f"S{ID_BYTES}", "r")


def _array(ids: Sequence[bytes]) -> Ids:
    # Padding with NUL makes no two ids of 16 bytes alike.
    return np.frombuffer(b"".join(ids), f"S{ID_BYTES}")


def _merged(parts: Sequence[Ids]) -> Iterator[Ids]:
    """The ids of sorted parts in order, a bounded number at once."""
    places = [0] * len(parts)
    while any(place < len(part) for place, part in zip(places, parts, strict=True)):
        heads = [
            part[place : place + IDS_AT_ONCE] for place, part in zip(places, parts, strict=True)
        ]
        # Of what is not read to its end nothing behind its head may go before others.
        limit = min(
            (
                head[-1]
                for head, part, place in zip(heads, parts, places, strict=True)
                if place + len(head) < len(part)
            ),
            default=None,
        )
        taken = [
            head if limit is None else head[: np.searchsorted(head, limit, side="right")]
            for head in heads
        ]
        yield np.sort(np.concatenate(taken), kind="stable")
        places = [place + len(each) for place, each in zip(places, taken, strict=True)]
