"""Spans, as every OTLP export is read into them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NO_PARENT = ("", "0000000000000000")
STATUS_ERROR = 2


class Note(Struct, frozen=True):
    """Something that was said of a span: an event in it, or a log record under its ids."""

    trace_id: str
    span_id: str
    name: str
    attributes: dict[str, Any]


class Span(Struct, frozen=True, kw_only=True):
    """One span; `place` names it to the user. Times are in ns since 1970."""

    place: str
    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    failed: bool
    status: str
    notes: list[Note]


def moment_of(ns: int) -> datetime:
    return EPOCH + timedelta(microseconds=ns // 1000)
