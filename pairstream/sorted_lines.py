"""Lines in the order of their ids, by sorting on disk: memory does not grow with them.

An id begins with hexadecimal digits of a hash, and stands at the same place in each line: that of
a pair_id, unless `ids` names another.
"""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count, groupby
from pathlib import Path

from trainer.datasets import ID_END, LINE_START

# Held in memory before they are sorted and written.
BYTES_A_FILE = 64 * 2**20

FILES_AT_ONCE = 200

PAIR_IDS = slice(len(LINE_START), ID_END)

# Hexadecimal digits that decide a line's share.
_LEADING = 4


class SortedLines:
    """Takes lines as they come. Of several under one id the first one stays.

    They are divided over as many folders as there are `shares`, by ranges of ids of a like size, so
    that each range can be merged by another process.
    """

    def __init__(
        self,
        folder: Path,
        *,
        shares: int,
        ids: slice = PAIR_IDS,
        bytes_a_file: int = BYTES_A_FILE,
    ) -> None:
        self._ids = ids
        self._folders = [folder / str(number) for number in range(shares)]
        for each in self._folders:
            each.mkdir()
        self._bytes_a_file = bytes_a_file
        self._lines: dict[bytes, bytes] = {}
        self._bytes = 0
        self._numbers = count()

    def add(self, line: bytes) -> None:
        if self._lines.setdefault(line[self._ids], line) is line:
            self._bytes += len(line)
            if self._bytes >= self._bytes_a_file:
                self.close()

    def close(self) -> None:
        """Write what is in memory."""
        if self._lines:
            name = f"{next(self._numbers):08d}.jsonl"
            in_order = sorted(self._lines.items())
            for share, found in groupby(in_order, lambda item: self._share(item[0])):
                (self._folders[share] / name).write_bytes(b"".join(line for _, line in found))
            self._lines.clear()
            self._bytes = 0

    def _share(self, line_id: bytes) -> int:
        return int(line_id[:_LEADING], 16) * len(self._folders) >> 4 * _LEADING


def merged(folders: Sequence[Path], ids: slice = PAIR_IDS) -> Iterator[bytes]:
    """All lines of one share in these folders, each id once: the first folder's first."""
    paths = [path for folder in folders for path in sorted(folder.iterdir())]
    while len(paths) > FILES_AT_ONCE:
        paths = [_merged_into_first(part, ids) for part in _batched(paths)]
    return _merged(paths, ids)


def _merged(paths: Sequence[Path], ids: slice) -> Iterator[bytes]:
    with ExitStack() as stack:
        newest = b""
        files = [stack.enter_context(path.open("rb")) for path in paths]
        for line in heapq.merge(*files, key=lambda line: line[ids]):
            line_id = line[ids]
            if line_id != newest:
                newest = line_id
                yield line


def _merged_into_first(paths: Sequence[Path], ids: slice) -> Path:
    first = paths[0]
    together = first.with_suffix(".tmp")
    with together.open("wb") as file:
        file.writelines(_merged(paths, ids))
    for path in paths:
        path.unlink()
    return together.rename(first)


def _batched(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(paths), FILES_AT_ONCE):
        yield paths[start : start + FILES_AT_ONCE]
