"""Headers of dead letters: where a record came from and why it was refused.

Names as Kafka Connect writes them (KIP-298), values as UTF-8 text, so that tools for Connect's
dead letters read ours. The record's own key, value and headers stay as they came, unless they are
larger than any record may be that we write. Only compression makes such a record possible; the
whole stands where it came from.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from schemas.errors import InvalidRecord
from schemas.topics import MAX_RECORD_BYTES, MAX_ROW_BYTES

Header = tuple[str, bytes | None]

TOPIC = "__connect.errors.topic"
PARTITION = "__connect.errors.partition"
OFFSET = "__connect.errors.offset"
STAGE = "__connect.errors.stage"
REASON = "__connect.errors.exception.class.name"
MESSAGE = "__connect.errors.exception.message"
CONNECTOR = "__connect.errors.connector.name"
PREFIX = "__connect.errors."

# On a letter that holds only the beginning of its record's value or key, or none of its headers.
VALUE_CUT = PREFIX + "value.cut"
KEY_CUT = PREFIX + "key.cut"
HEADERS_CUT = PREFIX + "headers.cut"
_CUTS = (VALUE_CUT, KEY_CUT, HEADERS_CUT)

# What stands beside a value in a record: its key and headers; 16 KiB are for ours and the batch.
_BESIDE_BYTES = MAX_RECORD_BYTES - MAX_ROW_BYTES - 16 * 1024
# Of a record that is too large: what is kept of its key, and the most that its headers may take.
_KEY_BYTES, _HEADERS_BYTES = _BESIDE_BYTES // 2, _BESIDE_BYTES // 2
# Lengths and the like.
_HEADER_BYTES = 16


@dataclass(frozen=True)
class Origin:
    """The record's place in the log."""

    topic: str
    partition: int
    offset: int


def headers(
    origin: Origin, *, reason: str, detail: str, service: str, original: Iterable[Header] = ()
) -> list[Header]:
    """The original headers, then ours; a second refusal replaces what the first one said.

    Args:
        reason: one of the contract's words, such as `invalid_event`.
        detail: for people; must not quote the record's text.
        service: who refused it (`worker`, `trainer`).
    """
    own = {
        TOPIC: origin.topic,
        PARTITION: str(origin.partition),
        OFFSET: str(origin.offset),
        CONNECTOR: service,
        STAGE: "VALUE_CONVERTER" if reason.startswith("invalid_") else "TASK_PUT",
        REASON: reason,
        MESSAGE: f"{reason}: {detail}",
    }
    kept = [(name, value) for name, value in original if name not in own and name not in _CUTS]
    return kept + [(name, text.encode()) for name, text in own.items()]


class Letter(NamedTuple):
    """A dead letter as it is written."""

    key: bytes | None
    value: bytes | None
    headers: list[Header]


def letter(
    origin: Origin,
    error: InvalidRecord,
    *,
    service: str,
    key: bytes | None,
    value: bytes | None,
    original: Iterable[Header] = (),
) -> Letter:
    """The record as it came, and why it was refused; of one that is too large, what fits."""
    came_with = list(original)
    beside = len(key or b"") + _size(came_with)
    cut: list[Header] = []
    if beside + len(value or b"") > MAX_ROW_BYTES + _BESIDE_BYTES:
        if _size(came_with) > _HEADERS_BYTES:
            cut.append((HEADERS_CUT, f"{_size(came_with)} bytes".encode()))
            came_with = []
        key = _cut(KEY_CUT, key, _KEY_BYTES, cut)
        value = _cut(VALUE_CUT, value, MAX_ROW_BYTES, cut)
    said = headers(
        origin, reason=error.reason, detail=error.detail, service=service, original=came_with
    )
    return Letter(key, value, said + cut)


def _size(given: Sequence[Header]) -> int:
    return sum(len(name.encode()) + len(value or b"") + _HEADER_BYTES for name, value in given)


def _cut(name: str, part: bytes | None, most: int, cut: list[Header]) -> bytes | None:
    if part is None or len(part) <= most:
        return part
    cut.append((name, f"{len(part)} bytes, SHA-256 {hashlib.sha256(part).hexdigest()}".encode()))
    return part[:most]


def is_cut(given: Sequence[Header]) -> bool:
    """Whether a letter with these headers holds only a part of its record."""
    return any(name in _CUTS for name, _ in given)


def whole_digest(part: bytes | None, given: Sequence[Header], cut: str) -> str | None:
    """SHA-256 of a record's key or value, in hexadecimal, also where its letter has it cut.

    Args:
        given: the letter's headers; none for a record itself.
        cut: the header that would tell of it.
    """
    said = read(given, cut)
    if said is not None:
        return said.rpartition(" ")[2]
    return None if part is None else hashlib.sha256(part).hexdigest()


def original_headers(letter: Sequence[Header]) -> list[Header]:
    """What the record carried before it became a dead letter."""
    return [(name, value) for name, value in letter if not name.startswith(PREFIX)]


def read(letter: Sequence[Header], name: str) -> str | None:
    """The text of the last header of that name; None when there is none."""
    for key, value in reversed(letter):
        if key == name and value is not None:
            return value.decode(errors="replace")
    return None
