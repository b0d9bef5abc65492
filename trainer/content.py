"""What stands in a dataset: pairs split over its files, and what is counted on the way.

Guarantee: the same lines and settings give the same bytes, in one go or in shares.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import orjson

from schemas.crash_points import crash_point
from trainer.columns import Column
from trainer.composing import Composer
from trainer.composition import Composition
from trainer.datasets import EVAL, LEFT_OUT, TRAIN, FileEntry
from trainer.layout import READ_ONLY
from trainer.left_out import LeftOut, left_out_line
from trainer.selection import WAITS, CutSettings, Reason, held_out_key, is_held_out

LeftOutIds = Mapping[str, Reason]

NONE_LEFT_OUT: LeftOutIds = MappingProxyType({})

_COPIED_AT_ONCE = 2**20


class Content(msgspec.Struct, frozen=True):
    """What was written to a folder; only of pairs there is a composition."""

    files: dict[str, FileEntry]
    runs: int
    rules: dict[str, int]
    composition: Composition | None = None
    left_out: dict[Reason, int] = {}

    @property
    def pairs(self) -> int:
        return sum(self.rules.values())


def write_content(
    folder: Path,
    lines: Iterable[bytes],
    settings: CutSettings,
    left_out: LeftOutIds = NONE_LEFT_OUT,
) -> Content:
    """Split lines, which come in the order of pair_id, over the two files, and list what is left
    out of them.
    """
    counts = _Counts()
    files = {name: DatasetFile(folder / name) for name in _names(left_out)}
    _split(lines, settings, left_out, files, counts)
    return _finish(folder, files, counts, left_out)


def write_share(
    folder: Path, lines: Iterable[bytes], settings: CutSettings, left_out: LeftOutIds
) -> None:
    """The same of some of the lines, for `join_shares`; nothing is made safe."""
    counts = _Counts()
    files = {name: _File(folder / name) for name in _names(left_out)}
    _split(lines, settings, left_out, files, counts)
    for file in files.values():
        file.close()
    counts.save(folder, {name: file.rows for name, file in files.items()})


def join_shares(folder: Path, shares: Sequence[Path], left_out: LeftOutIds) -> Content:
    """What `write_content` gives for the lines of all shares, which follow one another."""
    counts = _Counts()
    files = {name: DatasetFile(folder / name) for name in _names(left_out)}
    for share in shares:
        rows = counts.absorb(share)
        for name, file in files.items():
            file.append(share / name, rows[name])
    return _finish(folder, files, counts, left_out)


def _names(left_out: LeftOutIds) -> tuple[str, ...]:
    return (TRAIN, EVAL, LEFT_OUT) if left_out else (TRAIN, EVAL)


class _File:
    """One file as it grows."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self.rows = 0

    def add(self, line: bytes) -> None:
        self._file.write(line)
        self.rows += 1

    def close(self) -> None:
        self._file.close()


class DatasetFile(_File):
    """One that becomes part of a dataset."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._digest = hashlib.sha256()
        self._bytes = 0

    def add(self, line: bytes) -> None:
        super().add(line)
        self._count(line)

    def append(self, path: Path, rows: int) -> None:
        """So many lines of a file."""
        with path.open("rb") as file:
            while part := file.read(_COPIED_AT_ONCE):
                self._file.write(part)
                self._count(part)
        self.rows += rows

    def _count(self, written: bytes) -> None:
        self._digest.update(written)
        self._bytes += len(written)

    def finish(self) -> FileEntry:
        with self._file:
            self._file.flush()
            os.fchmod(self._file.fileno(), READ_ONLY)  # before the fsync, or it may be lost
            os.fsync(self._file.fileno())
        return FileEntry(self._digest.hexdigest(), self._bytes, self.rows)


class _Share(msgspec.Struct, frozen=True):
    """What a share counts, beside its columns."""

    rules: dict[str, int]
    rows: dict[str, int]


_SHARE, _RUNS = "share.json", "runs.column"


class _Counts:
    """Of the pairs that are taken."""

    def __init__(self) -> None:
        self.rules: Counter[str] = Counter()
        self.runs = Column("Q")
        self.composer = Composer()

    def add(self, row: Mapping[str, Any]) -> None:
        self.rules[row["rule"]] += 1
        digest = hashlib.sha256(row["run_id"].encode()).digest()
        self.runs.append(int.from_bytes(digest[:8]))
        self.composer.add(row)

    def save(self, folder: Path, rows: dict[str, int]) -> None:
        self.runs.save(folder / _RUNS)
        self.composer.save(folder)
        (folder / _SHARE).write_bytes(msgspec.json.encode(_Share(self.rules, rows)))

    def absorb(self, folder: Path) -> dict[str, int]:
        """Add what a share has saved; returns the rows of its files."""
        share = msgspec.json.decode((folder / _SHARE).read_bytes(), type=_Share)
        self.rules.update(share.rules)
        self.runs.extend(folder / _RUNS)
        self.composer.absorb(folder)
        return share.rows


def _split(
    lines: Iterable[bytes],
    settings: CutSettings,
    left_out: LeftOutIds,
    files: Mapping[str, _File],
    counts: _Counts,
) -> None:
    for line in lines:
        row = orjson.loads(line)
        reason = left_out.get(row["pair_id"])
        if reason is not None:
            left = LeftOut(row["pair_id"], reason, reason in WAITS)
            files[LEFT_OUT].add(left_out_line(left))
            continue
        counts.add(row)
        key = held_out_key(row, settings.held_out_by)
        files[EVAL if is_held_out(key, settings.eval_fraction) else TRAIN].add(line)


def _finish(
    folder: Path, files: Mapping[str, DatasetFile], counts: _Counts, left_out: LeftOutIds
) -> Content:
    entries = finish_sides(folder, files)
    crash_point("trainer.cut_pairs_written")
    if left_out:
        entries[LEFT_OUT] = files[LEFT_OUT].finish()
    return Content(
        files=entries,
        runs=counts.runs.distinct(),
        rules=dict(sorted(counts.rules.items())),
        composition=counts.composer.result(),
        left_out=dict(sorted(Counter(left_out.values()).items())),
    )


def finish_sides(folder: Path, files: Mapping[str, DatasetFile]) -> dict[str, FileEntry]:
    """Where the hash would hold out every run, none is held out: nothing could be trained else."""
    entries = {name: files[name].finish() for name in (TRAIN, EVAL)}
    if not entries[TRAIN].rows and entries[EVAL].rows:
        (folder / EVAL).rename(folder / TRAIN)
        entries = {TRAIN: entries[EVAL], EVAL: DatasetFile(folder / EVAL).finish()}
    return entries
