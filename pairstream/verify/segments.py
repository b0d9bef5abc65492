"""Segments: what their names say, and what stands in them."""

import hashlib
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
from msgspec import Struct

from pairstream.verify.report import Check, Checks

_NAME = re.compile(r"(\d{20})-(\d{20})\.(\d+)\.([0-9a-f]{16})\.jsonl")


class Line(Struct):
    """What must be known of a line of a segment or dataset."""

    pair_id: str
    run_id: str
    rule: str
    garbler: str | None = None
    agent_id: str | None = None
    task_id: str | None = None


@dataclass
class SegmentFile:
    """A segment by its name.

    Attributes:
        is_sound: its content is what the name says, as far as is known.
        dataset: the number (from 0) of the dataset that it was cut into, once that is known.
    """

    path: Path
    partition: int
    first: int
    last: int
    rows: int
    sha256_start: str
    is_sound: bool = True
    dataset: int | None = None


def read_names(folder: Path, checks: Checks) -> dict[int, list[SegmentFile]]:
    """Segments by partition, in the order of their offsets."""
    found: dict[int, list[SegmentFile]] = {}
    for path in folder.glob("*/*.jsonl"):
        match = _NAME.fullmatch(path.name)
        if match is None or not path.parent.name.isdecimal():
            checks.files.found("no segment's name", at=str(path))
            continue
        first, last, rows, digest = match.groups()
        partition = int(path.parent.name)
        segment = SegmentFile(path, partition, int(first), int(last), int(rows), digest)
        found.setdefault(partition, []).append(segment)
    for segments in found.values():
        segments.sort(key=lambda segment: segment.first)
        checks.coverage.checked += len(segments)
        for earlier, later in pairwise(segments):
            if later.first != earlier.last + 1:
                later.is_sound = (
                    later.first > earlier.last
                )  # else it is not known whose rows are whose
                word = "no" if later.is_sound else "more than one"
                low, high = sorted((earlier.last + 1, later.first))
                checks.coverage.found(
                    f"{word} segment covers offsets {low} to {high - 1}", at=str(later.path)
                )
    return found


def read_rows(segment: SegmentFile, check: Check) -> list[tuple[Line, bytes]]:
    """Its rows and their lines; a segment that is not what its name says is no longer sound."""
    check.checked += 1
    whole = hashlib.sha256()
    rows: list[tuple[Line, bytes]] = []
    with segment.path.open("rb") as lines:
        for line in lines:
            whole.update(line)
            try:
                rows.append((msgspec.json.decode(line, type=Line), line))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue  # its hash or its count will tell
    if not whole.hexdigest().startswith(segment.sha256_start) or len(rows) != segment.rows:
        segment.is_sound = False
        check.found("not what its name says (SHA-256 or rows)", at=str(segment.path))
    return rows
