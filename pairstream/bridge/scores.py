"""Of log records, those that are scores of spans, as an export that holds nothing else. Pure."""

from collections.abc import Iterable
from typing import Any

import msgspec

from pairstream.formats import conventions as words
from pairstream.formats.spans import Note, Span


def score_export(items: Iterable[Span | Note]) -> bytes | None:
    """OTLP/JSON that reads as the same scores; None where there is none.

    Agents log much that says nothing of a pair, and some of it is nobody else's business.
    """
    records = [_record(item) for item in items if isinstance(item, Note) and _is_score(item)]
    if not records:
        return None
    return msgspec.json.encode({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]})


def _is_score(note: Note) -> bool:
    return note.name == words.SCORE_EVENT and bool(note.trace_id and note.span_id)


def _record(note: Note) -> dict[str, Any]:
    name = note.attributes.get(words.SCORE_NAME)
    score = note.attributes.get(words.SCORE_VALUE)
    attributes: list[dict[str, Any]] = []
    if isinstance(name, str):
        attributes.append({"key": words.SCORE_NAME, "value": {"stringValue": name}})
    if isinstance(score, int | float) and not isinstance(score, bool):
        attributes.append({"key": words.SCORE_VALUE, "value": {"doubleValue": float(score)}})
    return {
        "traceId": note.trace_id,
        "spanId": note.span_id,
        "eventName": note.name,
        "attributes": attributes,
    }
