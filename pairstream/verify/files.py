"""The data directory by itself: segments and datasets are whole, go on from one another, and are
what their names and manifests say. Reads only; the trainer may run.

Memory: a digest for each pair of the datasets, an id for each that they left out.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from pairstream.verify.left_out import WAITING, Fates, Shares
from pairstream.verify.report import Checks
from pairstream.verify.segments import Line, SegmentFile, read_names
from pairstream.verify.snapshot import Scope
from schemas.errors import PairstreamError
from trainer.datasets import EVAL, LEFT_OUT, TRAIN, DatasetManifest, read_manifest
from trainer.forgotten import forgotten_runs
from trainer.layout import MANIFEST, DataDir
from trainer.left_out import LeftOut
from trainer.selection import is_held_out
from trainer.source import SourceFile, read_source


class Standing(NamedTuple):
    """Where a pair stands in the datasets, and its line's digest."""

    dataset: int
    digest: bytes


@dataclass
class DatasetFolder:
    """A published dataset; `is_sound`: its files and offsets are what they should be."""

    name: str
    manifest: DatasetManifest
    is_sound: bool = True

    def covers(self, partition: int, offset: int) -> bool:
        range_ = self.manifest.offsets.get(str(partition))
        return range_ is not None and range_.from_ <= offset < range_.to


@dataclass
class DataFiles:
    """Everything that stands in a data directory.

    Attributes:
        source: null where no trainer has worked.
        segments: by partition, in the order of their offsets.
        standing: the pairs that were asked for, by id, wherever they stand in datasets.
        fates: all pairs that datasets list as left out or waiting.
        forgotten: runs whose pairs need stand in no segment.
    """

    source: SourceFile | None = None
    segments: dict[int, list[SegmentFile]] = field(default_factory=dict)
    datasets: list[DatasetFolder] = field(default_factory=list)
    standing: dict[bytes, Standing] = field(default_factory=dict)
    fates: Fates = field(default_factory=Fates)
    forgotten: Container[str] = ()

    def position(self, partition: int) -> int:
        """The first offset that no segment covers."""
        starts = (self.source.starts if self.source else None) or {}
        segments = self.segments.get(partition)
        return segments[-1].last + 1 if segments else starts.get(partition, 0)


def read_files(data: DataDir, checks: Checks, scope: Scope) -> DataFiles:
    """Datasets first, then segments: so those of every dataset are seen."""
    files = DataFiles()
    if data.source.exists():
        try:
            files.source = read_source(data)
        except PairstreamError as error:
            checks.files.found(str(error), at=str(data.source))
    files.forgotten = forgotten_runs(data)
    for name in data.dataset_names():
        _read_dataset(data, name, files, checks, scope)
    files.segments = read_names(data.segments, checks)
    return files


def digest_of_line(line: bytes) -> bytes:
    return hashlib.sha256(line).digest()[:16]


def id_bytes(pair_id: str) -> bytes:
    """The id as a key of half the size, whatever it is."""
    try:
        return bytes.fromhex(pair_id)
    except ValueError:
        return pair_id.encode()


# --- Datasets ------------------------------------------------------------------------------------


def _read_dataset(data: DataDir, name: str, files: DataFiles, checks: Checks, scope: Scope) -> None:
    folder = data.datasets / name
    try:
        dataset = DatasetFolder(name, read_manifest(folder))
    except PairstreamError as error:
        checks.files.found(str(error), id=name, at=str(folder / MANIFEST))
        return
    files.datasets.append(dataset)
    content = _Content(dataset, len(files.datasets) - 1, files, checks, scope)
    for file in (TRAIN, EVAL):
        content.read(folder / file, content.take_pair)
    if dataset.manifest.left_out or LEFT_OUT in dataset.manifest.files:
        content.read(folder / LEFT_OUT, content.take_left_out)
    content.compare(folder / MANIFEST)


class _Content:
    """The lines of one dataset against its manifest."""

    def __init__(
        self, dataset: DatasetFolder, number: int, files: DataFiles, checks: Checks, scope: Scope
    ) -> None:
        self._dataset = dataset
        self._number = number
        self._files = files
        self._checks = checks
        self._scope = scope
        self._rules: dict[str, int] = {}
        self._runs: set[bytes] = set()
        self._held_out: dict[str, list[int]] = {TRAIN: [0, 0], EVAL: [0, 0]}
        self._left_out: Counter[str] = Counter()
        self._shares = Shares(dataset.manifest.settings)

    def read(self, path: Path, take: Callable[[Path, int, bytes], str | None]) -> None:
        """Hold a file against the manifest; `take` gives a line's id, null where it is no line."""
        self._checks.files.checked += 1
        entry = self._dataset.manifest.files.get(path.name)
        if entry is None or not path.is_file():
            self._broken("a file is missing, or its manifest does not name it", path)
            return
        whole, size, rows, last = hashlib.sha256(), 0, 0, ""
        for line in _lines(path):
            whole.update(line)
            size += len(line)
            rows += 1
            pair_id = take(path, rows, line)
            if pair_id is None:
                continue
            if pair_id <= last:
                self._broken(f"line {rows} is not in the order of pair_id", path, pair_id)
            last = pair_id
            if not line.endswith(b"\n"):
                self._broken("no newline at the end", path)
        if (whole.hexdigest(), size, rows) != (entry.sha256, entry.bytes, entry.rows):
            self._broken("not what the manifest says (SHA-256, bytes or rows)", path)

    def take_pair(self, path: Path, number: int, line: bytes) -> str | None:
        try:
            row = msgspec.json.decode(line, type=Line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._broken(f"line {number} is no pair", path)
            return None
        self._count(path.name, row)
        if self._scope.wants(row.run_id):
            self._stand(row, line, path)
        return row.pair_id

    def take_left_out(self, path: Path, number: int, line: bytes) -> str | None:
        try:
            left = msgspec.json.decode(line, type=LeftOut)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._broken(f"line {number} is no pair that was left out", path)
            return None
        if left.waits != (left.reason in WAITING):
            self._broken("it waits for another reason than it says", path, left.pair_id)
        self._left_out[left.reason] += 1
        self._files.fates.note(id_bytes(left.pair_id), self._number, waits=left.waits)
        return left.pair_id

    def compare(self, manifest_path: Path) -> None:
        """Counts, once both files have been read."""
        manifest = self._dataset.manifest
        pairs = sum(self._rules.values())
        counted = (pairs, len(self._runs), self._rules, self._left_out)
        told = (manifest.pairs, manifest.runs, manifest.rules, manifest.left_out)
        if self._dataset.is_sound and counted != told:
            what = "counts of pairs, runs, rules or left out ones that the files do not give"
            self._broken(what, manifest_path)
        if self._dataset.is_sound and not self._is_split_by_the_hash():
            what = "a held-out side that the runs' hashes do not give"
            self._checks.rebuild.found(what, id=self._dataset.name)
        for name in self._shares.exceeded(pairs) if self._dataset.is_sound else ():
            what = f"a larger share ({name}) than its settings allow"
            self._checks.rebuild.found(what, id=self._dataset.name)

    def _count(self, file: str, row: Line) -> None:
        self._rules[row.rule] = self._rules.get(row.rule, 0) + 1
        self._runs.add(digest_of_line(row.run_id.encode()))
        self._shares.add(row)
        settings = self._dataset.manifest.settings
        by_task = settings.held_out_by == "task"
        key = row.task_id if by_task and row.task_id is not None else row.run_id
        self._held_out[file][is_held_out(key, settings.eval_fraction)] += 1

    def _is_split_by_the_hash(self) -> bool:
        """Where every run would be held out, none is."""
        trained_on, held_out = self._held_out[TRAIN], self._held_out[EVAL]
        if trained_on[1]:
            return not trained_on[0] and not any(held_out)
        return not held_out[0]

    def _stand(self, row: Line, line: bytes, path: Path) -> None:
        standing = Standing(self._number, digest_of_line(line))
        earlier = self._files.standing.setdefault(id_bytes(row.pair_id), standing)
        if earlier is not standing:
            other = self._files.datasets[earlier.dataset].name
            what = f"a pair that stands in {other} already"
            self._checks.once.found(what, id=row.pair_id, at=str(path))

    def _broken(self, what: str, path: Path, pair_id: str | None = None) -> None:
        self._dataset.is_sound = False
        self._checks.files.found(what, id=pair_id or self._dataset.name, at=str(path))


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file
