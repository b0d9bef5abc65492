"""Datasets: immutable, numbered, published by one rename. Contract, section 5.

Guarantee: the same pairs give the same `train.jsonl` and `eval.jsonl`, to the byte, whatever the
order in which they came; a dataset exists completely or not at all.
"""

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from schemas.crash_points import crash_point
from schemas.errors import PairstreamError
from schemas.source import Source
from trainer.index import Place
from trainer.layout import (
    MANIFEST,
    READ_ONLY,
    DataDir,
    make_folder,
    sync_folder,
    write_durably,
)
from trainer.segments import Segment, next_offsets

TRAIN, EVAL = "train.jsonl", "eval.jsonl"

OPEN_SEGMENTS = 64

_TEMPORARY = ".tmp"


class FileEntry(msgspec.Struct, frozen=True):
    """One file of a dataset."""

    sha256: str
    bytes: int
    rows: int


class OffsetRange(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Offsets of one partition: `from_` belongs to it, `to` does not."""

    from_: int
    to: int


class DatasetManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a dataset holds and where it came from; written last."""

    name: str
    parent: str | None
    created_at: datetime
    pairs: int
    runs: int
    rules: dict[str, int]
    offsets: dict[str, OffsetRange]
    files: dict[str, FileEntry]
    settings: dict[str, float]
    source: Source

    @property
    def sha256(self) -> str:
        """One hash for both files, for those who name a dataset by its content."""
        return one_hash({name: entry.sha256 for name, entry in self.files.items()})


def one_hash(files: Mapping[str, str]) -> str:
    """Of a dataset, by the hashes of its files."""
    return hashlib.sha256((files[TRAIN] + files[EVAL]).encode()).hexdigest()


def is_held_out(run_id: str, fraction: float) -> bool:
    """Decide by a hash, so that a run never stands on both sides."""
    return _is_held_out(_run_digest(run_id), fraction)


def _run_digest(run_id: str) -> bytes:
    return hashlib.sha256(run_id.encode()).digest()[:8]


def _is_held_out(run_digest: bytes, fraction: float) -> bool:
    return int.from_bytes(run_digest) < fraction * 2**64


def read_manifest(dataset: Path) -> DatasetManifest:
    """Raises: PairstreamError when there is none or it is damaged."""
    try:
        return msgspec.json.decode((dataset / MANIFEST).read_bytes(), type=DatasetManifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise PairstreamError(f"{dataset} is no published dataset: {error}") from error


def verify_dataset(dataset: Path) -> DatasetManifest:
    """Hold every file against the manifest. Raises: PairstreamError that names the file."""
    manifest = read_manifest(dataset)
    for name, entry in manifest.files.items():
        if file_sha256(dataset / name) != entry.sha256:
            raise PairstreamError(
                f"{dataset / name} is not what its manifest says (SHA-256): restore it, or rebuild "
                "the dataset with `pairstream replay`"
            )
    return manifest


def file_sha256(path: Path) -> str:
    """Raises: PairstreamError when the file is not there."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PairstreamError(f"{path} cannot be read: {error.strerror}") from error


def read_lines(folder: Path, places: Iterable[Place]) -> Iterator[bytes]:
    """Lines of segments by their places, with a bounded number of files open."""
    files: dict[str, BinaryIO] = {}
    try:
        for path, offset, length in places:
            if path not in files:
                if len(files) >= OPEN_SEGMENTS:
                    files.pop(next(iter(files))).close()
                files[path] = (folder / path).open("rb")
            yield os.pread(files[path].fileno(), length, offset)
    finally:
        for file in files.values():
            file.close()


class _Writer:
    """One file of a dataset as it grows."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self._bytes = self.rows = 0

    def add(self, line: bytes) -> None:
        self._file.write(line)
        self._digest.update(line)
        self._bytes += len(line)
        self.rows += 1

    def close(self) -> FileEntry:
        with self._file:
            self._file.flush()
            os.fchmod(self._file.fileno(), READ_ONLY)  # before the fsync, or it may be lost
            os.fsync(self._file.fileno())
        return FileEntry(self._digest.hexdigest(), self._bytes, self.rows)


class _Head(msgspec.Struct):
    """What of a line decides where it goes and what is counted."""

    run_id: str
    rule: str


_head_decoder = msgspec.json.Decoder(_Head)


class Content(msgspec.Struct, frozen=True):
    """What was written to a folder."""

    files: dict[str, FileEntry]
    runs: int
    rules: dict[str, int]

    @property
    def pairs(self) -> int:
        return sum(entry.rows for entry in self.files.values())


def write_content(folder: Path, lines: Iterable[bytes], *, eval_fraction: float) -> Content:
    """Split lines, which come in the order of pair_id, over the two files.

    Where the hash would hold out every run, none is held out: nothing could be trained otherwise.
    """
    train, held_out = _Writer(folder / TRAIN), _Writer(folder / EVAL)
    rules: Counter[str] = Counter()
    runs: set[bytes] = set()
    for line in lines:
        row = _head_decoder.decode(line)
        run = _run_digest(row.run_id)
        rules[row.rule] += 1
        runs.add(run)
        (held_out if _is_held_out(run, eval_fraction) else train).add(line)
    files = {TRAIN: train.close(), EVAL: held_out.close()}
    if not train.rows and held_out.rows:
        (folder / EVAL).rename(folder / TRAIN)
        files = {TRAIN: files[EVAL], EVAL: _Writer(folder / EVAL).close()}
    return Content(files, len(runs), dict(sorted(rules.items())))


def uncut(segments: Iterable[Segment], parent: DatasetManifest | None) -> list[Segment]:
    """Segments that stand in no dataset yet."""
    ends = {key: offsets.to for key, offsets in parent.offsets.items()} if parent else {}
    return [segment for segment in segments if segment.first >= ends.get(str(segment.partition), 0)]


def remove_unpublished(data: DataDir) -> None:
    """Remove what a killed trainer had begun to cut: its segments are cut again.

    What it had published is made safe, to which it may not have come: it is seen, so it stays.
    """
    for path in data.datasets.glob(f".ds-*{_TEMPORARY}"):
        shutil.rmtree(path)
    if data.datasets.is_dir():
        sync_folder(data.datasets)


def cut_dataset(
    data: DataDir,
    segments: list[Segment],
    lines: Iterable[bytes],
    *,
    parent: DatasetManifest | None,
    source: Source,
    eval_fraction: float,
) -> DatasetManifest:
    """Publish the lines of the given segments, which come in the order of pair_id."""
    name = data.next_dataset_name()
    if (data.datasets / name).exists():
        raise PairstreamError(f"{data.datasets / name} has no manifest: move it out of the folder")
    make_folder(data.datasets)
    temporary = data.datasets / f".{name}{_TEMPORARY}"
    temporary.mkdir()
    crash_point("trainer.cut_begun")
    content = write_content(temporary, lines, eval_fraction=eval_fraction)
    crash_point("trainer.cut_written")
    manifest = DatasetManifest(
        name=name,
        parent=parent.name if parent else None,
        created_at=datetime.now(UTC),
        pairs=content.pairs,
        runs=content.runs,
        rules=content.rules,
        offsets=_offsets(segments, parent),
        files=content.files,
        settings={"eval_fraction": eval_fraction},
        source=source,
    )
    publish(temporary, data.datasets / name, manifest)
    return manifest


def publish(temporary: Path, target: Path, manifest: DatasetManifest) -> None:
    """Make the folder a dataset: the manifest last, then one rename."""
    encoded = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
    write_durably(temporary / MANIFEST, encoded, read_only=True)
    crash_point("trainer.cut_manifest_written")
    temporary.rename(target)
    crash_point("trainer.cut_renamed")
    sync_folder(target.parent)
    crash_point("trainer.cut_published")


def _offsets(segments: list[Segment], parent: DatasetManifest | None) -> dict[str, OffsetRange]:
    """The ranges cut now; a partition without news keeps its end, so that it is not forgotten."""
    kept = parent.offsets if parent else {}
    ends = {key: OffsetRange(offsets.to, offsets.to) for key, offsets in kept.items()}
    for partition, end in next_offsets(segments).items():
        first = min(segment.first for segment in segments if segment.partition == partition)
        ends[str(partition)] = OffsetRange(first, end)
    return dict(sorted(ends.items(), key=lambda item: int(item[0])))
