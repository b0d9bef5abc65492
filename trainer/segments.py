"""Segments: the trainer's files of pairs, whose names hold the offsets that they cover.

Guarantee: a segment exists completely or not at all, whenever the process dies; so the names are
the position, and nothing is read twice or skipped. The model is Kafka Connect's HDFS sink.
"""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from schemas.crash_points import crash_point
from schemas.errors import PairstreamError
from trainer.layout import make_folder, sync_folder

_NAME = re.compile(r"(\d{20})-(\d{20})\.(\d+)\.([0-9a-f]{16})\.jsonl")
TEMPORARY = ".tmp"


@dataclass(frozen=True, order=True)
class Segment:
    """Offsets `first` to `last` of one partition, both covered, and how many rows they gave."""

    partition: int
    first: int
    last: int
    rows: int
    sha256_start: str

    @property
    def path(self) -> Path:
        """Below the folder of segments."""
        name = f"{self.first:020d}-{self.last:020d}.{self.rows}.{self.sha256_start}.jsonl"
        return Path(str(self.partition), name)


def list_segments(folder: Path) -> list[Segment]:
    """All segments by partition and offset.

    Raises: PairstreamError for a file that is no segment, and when offsets are missing between two.
    """
    found = sorted(_parse(path) for path in folder.glob("*/*.jsonl"))
    for earlier, later in pairwise(found):
        if earlier.partition == later.partition and later.first != earlier.last + 1:
            raise PairstreamError(
                f"segments of partition {earlier.partition} in {folder} leave out the offsets "
                f"between {earlier.last} and {later.first}, or cover some twice: restore them"
            )
    return found


def _parse(path: Path) -> Segment:
    match = _NAME.fullmatch(path.name)
    if match is None or not path.parent.name.isdecimal():
        raise PairstreamError(f"{path} is no segment: move it out of the folder")
    first, last, rows, digest = match.groups()
    return Segment(int(path.parent.name), int(first), int(last), int(rows), digest)


def next_offsets(segments: Iterable[Segment]) -> dict[int, int]:
    """Where to read on, by partition; those without segments are not named."""
    return {segment.partition: segment.last + 1 for segment in sorted(segments)}


def verify_segment(folder: Path, segment: Segment) -> None:
    """Hold a segment's content against its name. Raises: PairstreamError that names the file."""
    path = folder / segment.path
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise PairstreamError(f"{path} is gone: restore it") from error
    if not digest.startswith(segment.sha256_start):
        raise PairstreamError(
            f"{path} is damaged (its SHA-256 is not what its name says): restore it, or go on with "
            "a new --data-dir (the datasets in the old one stay valid)"
        )


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed trainer had not finished: its offsets are read again.

    What it had finished is made safe, to which it may not have come: datasets are built on it.
    """
    for path in folder.glob(f"*/*{TEMPORARY}"):
        path.unlink()
    for partition in folder.glob("*/"):
        sync_folder(partition)


class OpenSegment:
    """Lines of one partition that are not a segment yet."""

    def __init__(self, folder: Path, partition: int, first: int) -> None:
        self.partition = partition
        self.first = first
        self.next = first
        self.rows: list[tuple[str, int, int]] = []
        self._folder = folder / str(partition)
        make_folder(self._folder)
        self._path = self._folder / f"open{TEMPORARY}"
        self._file = self._path.open("wb")
        self._digest = hashlib.sha256()
        self._bytes = 0

    def cover(self, offset: int) -> None:
        """Count an offset as dealt with, whatever it held."""
        self.next = offset + 1

    def add(self, pair_id: str, line: bytes) -> None:
        """Append one row's line, which ends in a newline."""
        self.rows.append((pair_id, self._bytes, len(line)))
        self._file.write(line)
        self._digest.update(line)
        self._bytes += len(line)

    def close(self) -> Segment:
        """Make it a segment. An error leaves none: the offsets are read again."""
        with self._file:
            self._file.flush()
            crash_point("trainer.segment_written")
            os.fsync(self._file.fileno())
        crash_point("trainer.segment_synced")
        digest = self._digest.hexdigest()[:16]
        segment = Segment(self.partition, self.first, self.next - 1, len(self.rows), digest)
        os.link(self._path, self._folder.parent / segment.path)  # unlike a rename, never replaces
        crash_point("trainer.segment_linked")
        self._path.unlink()
        crash_point("trainer.segment_renamed")
        sync_folder(self._folder)
        crash_point("trainer.segment_durable")
        return segment
