"""Headers of dead letters: where a record came from and why it was refused.

Names as Kafka Connect writes them (KIP-298), values as UTF-8 text, so that tools for Connect's
dead letters read ours. The record's own key, value and headers stay as they came.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Header = tuple[str, bytes | None]

TOPIC = "__connect.errors.topic"
PARTITION = "__connect.errors.partition"
OFFSET = "__connect.errors.offset"
STAGE = "__connect.errors.stage"
REASON = "__connect.errors.exception.class.name"
MESSAGE = "__connect.errors.exception.message"
CONNECTOR = "__connect.errors.connector.name"
PREFIX = "__connect.errors."

# On a letter that holds only the beginning of its record.
CUT = PREFIX + "value.cut"


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
    kept = [(name, value) for name, value in original if name not in own]
    return kept + [(name, text.encode()) for name, text in own.items()]


def describe_cut(value: bytes) -> bytes:
    """By which the whole value is known again."""
    return f"{len(value)} bytes, SHA-256 {hashlib.sha256(value).hexdigest()}".encode()


def original_headers(letter: Sequence[Header]) -> list[Header]:
    """What the record carried before it became a dead letter."""
    return [(name, value) for name, value in letter if not name.startswith(PREFIX)]


def read(letter: Sequence[Header], name: str) -> str | None:
    """The text of the last header of that name; None when there is none."""
    for key, value in reversed(letter):
        if key == name and value is not None:
            return value.decode(errors="replace")
    return None
