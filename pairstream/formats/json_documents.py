"""Documents of JSON, typed as far as they are read. Pure."""

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from pairstream.formats.record import Unreadable
from schemas.events import unquoted

T = TypeVar("T")


def decode(content: bytes) -> Any:
    """Raises: Unreadable."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"not JSON: {error}") from error


def typed(document: object, kind: type[T]) -> T:
    """Raises: Unreadable, which names the field."""
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise Unreadable(unquoted(error)) from error


def score_in(value: object) -> float | None:
    """None where it is no number. Raises: Unreadable for a whole number that no float holds."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError as error:
        raise Unreadable("a score is larger than any number here") from error


def moment_at(seconds: float) -> datetime:
    """Seconds since 1970. Raises: Unreadable."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise Unreadable("its time is none") from error


def moment_in(text: str) -> datetime:
    """A time as it is written; without a zone it is UTC. Raises: Unreadable."""
    moment = typed(text, datetime)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
