"""Runs that people want gone: what is published stays as it is and is marked, and nothing new takes
them.

The list only grows. It is written before the marks, and a cut looks at it again once it has
published, so that no dataset holds such a run without saying so.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from schemas.errors import PairstreamError
from schemas.json_errors import JSON_ERRORS
from trainer.datasets import dataset_lines, read_manifest
from trainer.layout import MANIFEST, DataDir, folder_lock, make_folder, write_durably
from trainer.segments import Segment, verify_segment

MARK = "forgotten.json"

REWRITTEN = "rewritten"

NOBODY: Mapping[str, datetime] = {}


class ForgottenRun(msgspec.Struct, frozen=True):
    """One line of the list."""

    run_id: str
    time: datetime


class MarkedRun(msgspec.Struct, frozen=True):
    """A forgotten run that stands in a published dataset, with so many pairs."""

    run_id: str
    time: datetime
    pairs: int


class Mark(msgspec.Struct, frozen=True):
    """What `forgotten.json` beside a manifest says."""

    runs: list[MarkedRun]


class RunOf(msgspec.Struct, frozen=True):
    """Of a line of a dataset or segment, whose pair it is."""

    run_id: str
    agent_id: str | None = None


run_of = msgspec.json.Decoder(RunOf).decode

_line = msgspec.json.Decoder(ForgottenRun).decode


class ForgottenRuns:
    """The list as it is now; it is read again only when it has changed."""

    def __init__(self, data: DataDir) -> None:
        self._path = data.forgotten
        self._seen: tuple[int, int] | None = None
        self._runs = NOBODY

    def current(self) -> Mapping[str, datetime]:
        """When each run was forgotten. Raises: PairstreamError when the list is damaged."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return NOBODY
        seen = (found.st_ino, found.st_size)  # it is replaced, and only grows
        if seen != self._seen:
            self._runs, self._seen = _read(self._path), seen
        return self._runs


def forgotten_runs(data: DataDir) -> Mapping[str, datetime]:
    """When each run was forgotten. Raises: PairstreamError when the list is damaged."""
    return ForgottenRuns(data).current()


def _read(path: Path) -> Mapping[str, datetime]:
    try:
        lines = map(_line, path.read_bytes().splitlines())
        return {line.run_id: line.time for line in lines}
    except JSON_ERRORS as error:
        raise PairstreamError(f"{path} is damaged ({error}): restore it") from error


def remember_forgotten(data: DataDir, runs: Iterable[str], now: datetime) -> None:
    """Add runs to the list; those that stand there keep their time."""
    make_folder(data.root)
    with folder_lock(data.root):
        known = forgotten_runs(data)
        added = {run_id: now for run_id in runs if run_id not in known}
        lines = [ForgottenRun(*item) for item in {**known, **added}.items()]
        write_durably(data.forgotten, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


class ForgottenPairs:
    """Counts the pairs of closed segments whose runs were forgotten after they were taken in; it
    reads a segment once for a list.
    """

    def __init__(self, data: DataDir) -> None:
        self._folder = data.segments
        self._runs = NOBODY
        self._found: dict[Path, int] = {}

    def count(self, segments: Iterable[Segment], runs: Mapping[str, datetime]) -> int:
        """Raises: PairstreamError when a segment is damaged."""
        if runs is not self._runs:
            self._runs, self._found = runs, {}
        if not runs:
            return 0
        known = self._found
        self._found = {
            segment.path: known[segment.path] if segment.path in known else self._read(segment)
            for segment in segments
        }
        return sum(self._found.values())

    def _read(self, segment: Segment) -> int:
        verify_segment(self._folder, segment)
        with (self._folder / segment.path).open("rb") as lines:
            return sum(run_of(line).run_id in self._runs for line in lines)


def pairs_of(dataset: Path, runs: Mapping[str, datetime]) -> Counter[str]:
    """How many pairs of each of the runs stand in a dataset."""
    found = (run_of(line).run_id for line in dataset_lines(dataset))
    return Counter(run_id for run_id in found if run_id in runs)


def mark_dataset(dataset: Path, runs: Mapping[str, datetime]) -> Mark | None:
    """Say beside the manifest which forgotten runs the dataset holds; None where it holds none."""
    pairs = pairs_of(dataset, runs)
    if not pairs:
        return None
    mark = Mark([MarkedRun(run_id, runs[run_id], pairs[run_id]) for run_id in sorted(pairs)])
    write_durably(dataset / MARK, msgspec.json.format(msgspec.json.encode(mark)) + b"\n")
    return mark


def read_mark(dataset: Path) -> Mark | None:
    """Raises: PairstreamError when it is damaged."""
    try:
        return msgspec.json.decode((dataset / MARK).read_bytes(), type=Mark)
    except FileNotFoundError:
        return None
    except JSON_ERRORS as error:
        raise PairstreamError(f"{dataset / MARK} is damaged ({error}): remove it") from error


def rewritten_folders(data: DataDir) -> list[Path]:
    """Datasets that were written once more without forgotten runs, oldest first."""
    folders = [path.parent for path in (data.root / REWRITTEN).glob(f"*/{MANIFEST}")]
    return sorted(folders, key=lambda folder: read_manifest(folder).created_at)


def without_forgotten(data: DataDir, dataset: str) -> Path | None:
    """The newest folder with this dataset, or what is left of it, that holds none of these runs."""
    found = (
        folder
        for folder in reversed(rewritten_folders(data))
        if read_manifest(folder).parent == dataset and read_mark(folder) is None
    )
    return next(found, None)


def read_marks(data: DataDir) -> dict[str, Mark]:
    """Of every published dataset that has one. Raises: PairstreamError when one is damaged."""
    marks = {name: read_mark(data.datasets / name) for name in data.dataset_names()}
    return {name: mark for name, mark in marks.items() if mark is not None}
