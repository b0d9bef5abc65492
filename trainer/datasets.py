"""Datasets: immutable, numbered, published by one rename. Contract, section 5.

What they hold, where they came from, and how they are read; `trainer.cut` makes them.
"""

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from schemas.errors import PairstreamError
from schemas.json_errors import JSON_ERRORS
from schemas.source import Source
from trainer.composition import Composition
from trainer.layout import MANIFEST
from trainer.segments import Segment
from trainer.selection import WAITS, CutSettings, Reason

LINE_START = b'{"pair_id":"'
ID_END = len(LINE_START) + 32

TRAIN, EVAL, LEFT_OUT = "train.jsonl", "eval.jsonl", "left-out.jsonl"


# What its lines are: pairs; or, of scored rows, labelled responses or groups of them by prompt.
DatasetKind = Literal["pairs", "kto", "groups"]


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
    """What a dataset holds and where it came from; written last.

    `composition` is null where an older trainer made it. `left_out` counts by reason the candidates
    that it did not take, which its list names; `waited` of its candidates had waited in the parent.
    Where its `kind` is not pairs, `pairs` counts scored rows, and `rules` their kinds.
    """

    name: str
    parent: str | None
    created_at: datetime
    pairs: int
    runs: int
    rules: dict[str, int]
    offsets: dict[str, OffsetRange]
    files: dict[str, FileEntry]
    settings: CutSettings
    source: Source
    composition: Composition | None = None
    left_out: dict[Reason, int] = {}
    waited: int = 0
    kind: DatasetKind = "pairs"

    @property
    def waiting(self) -> int:
        """Pairs that are candidates of the next dataset again."""
        return sum(pairs for reason, pairs in self.left_out.items() if reason in WAITS)

    @property
    def hashes(self) -> dict[str, str]:
        """The SHA-256 of each file."""
        return {name: entry.sha256 for name, entry in self.files.items()}

    @property
    def sha256(self) -> str:
        """One hash for both files of pairs, for those who name a dataset by its content."""
        return one_hash(self.hashes)


def one_hash(files: Mapping[str, str]) -> str:
    """Of a dataset, by the hashes of its files of pairs."""
    return hashlib.sha256((files[TRAIN] + files[EVAL]).encode()).hexdigest()


def read_manifest(dataset: Path) -> DatasetManifest:
    """Raises: PairstreamError when there is none or it is damaged."""
    try:
        return msgspec.json.decode((dataset / MANIFEST).read_bytes(), type=DatasetManifest)
    except (OSError, *JSON_ERRORS) as error:
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


def pair_id_of(line: bytes) -> str:
    """Each line begins with it (contract, section 5)."""
    return line[len(LINE_START) : ID_END].decode()


def dataset_lines(dataset: Path) -> Iterator[bytes]:
    """Lines of both files, in the order of pair_id, with which each begins."""
    with ExitStack() as stack:
        files = [stack.enter_context((dataset / name).open("rb")) for name in (TRAIN, EVAL)]
        yield from heapq.merge(*files)


def uncut(segments: Iterable[Segment], parent: DatasetManifest | None) -> list[Segment]:
    """Segments that stand in no dataset yet."""
    ends = {key: offsets.to for key, offsets in parent.offsets.items()} if parent else {}
    return [segment for segment in segments if segment.first >= ends.get(str(segment.partition), 0)]
