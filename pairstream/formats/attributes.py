"""What a span's attributes say: messages, scores, errors. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from pairstream.formats import conventions as words
from pairstream.formats.conventions import Convention
from pairstream.formats.record import Unreadable
from pairstream.formats.spans import Note, Span

# What names may say of a place; conventions need a third of it. More is no list of theirs, and
# would cost a stack, or a number that Python reads for no one.
MOST_PARTS = 32
MOST_DIGITS = 9


def first(attributes: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((attributes[name] for name in names if attributes.get(name) is not None), None)


def text(attributes: Mapping[str, Any], names: Iterable[str]) -> str | None:
    value = first(attributes, names)
    return value if isinstance(value, str) and value else None


def messages(span: Span, names: tuple[str, ...], convention: Convention) -> list[dict[str, Any]]:
    """The messages under the first of the names that the span has. Raises: Unreadable."""
    if convention.flattened:
        found = (items(span.attributes, name) for name in names)
        told = [item.get("message", item) for item in next(filter(None, found), [])]
    else:
        told = _structured(span, names)
    if not all(isinstance(message, dict) for message in told):
        raise Unreadable(f"{names[0]} holds something else than messages")
    return told


def _structured(span: Span, names: tuple[str, ...]) -> list[Any]:
    value = first(span.attributes, names)
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Unreadable(f"{names[0]} is no JSON: {error}") from error
    if value is not None and not isinstance(value, list):
        raise Unreadable(f"{names[0]} is no list")
    return value or []


def items(attributes: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """The list that stands flattened as PREFIX.0.name, PREFIX.1.name.inner and so on.

    Raises: Unreadable.
    """
    start = prefix + "."
    root: dict[str, Any] = {}
    for name, value in attributes.items():
        if name.startswith(start):
            *path, last = name[len(start) :].split(".", MOST_PARTS)
            if len(path) == MOST_PARTS:
                raise Unreadable(f"an attribute {start}... has more than {MOST_PARTS} parts")
            place = root
            for part in path:
                inner = place.setdefault(part, {})
                if not isinstance(inner, dict):
                    break
                place = inner
            else:
                place[last] = value
    listed = _listed(root)
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def _listed(value: Any) -> Any:
    """Objects whose names are numbers are lists."""
    if not isinstance(value, dict):
        return value
    inner = {name: _listed(item) for name, item in value.items()}
    if inner and all(name.isdecimal() for name in inner):
        if max(map(len, inner)) > MOST_DIGITS:
            raise Unreadable(f"a list in its attributes counts in more than {MOST_DIGITS} digits")
        return [inner[name] for name in sorted(inner, key=int)]
    return inner


def scores_of(span: Span, notes: Iterable[Note]) -> dict[str, float]:
    """Every score of the span by its name, in its attributes and in what was said of it.

    Raises: Unreadable.
    """
    found = _flattened_scores(span.attributes, words.SCORE_PREFIXES)
    for note in [*span.notes, *notes]:
        if note.name == words.SCORE_EVENT:
            _put(found, note.attributes, words.SCORE_NAME, words.SCORE_VALUE)
    return found


def trace_scores_of(span: Span) -> dict[str, float]:
    """Those of the whole trace, which may stand on any span. Raises: Unreadable."""
    return _flattened_scores(span.attributes, words.TRACE_SCORE_PREFIXES)


def _flattened_scores(attributes: Mapping[str, Any], prefixes: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for prefix in prefixes:
        for item in items(attributes, prefix):
            inner = next((item[name] for name in words.SCORE_ITEMS if name in item), None)
            if isinstance(inner, dict):
                _put(found, inner, "name", "score")
    return found


def _put(found: dict[str, float], said: Mapping[str, Any], name: str, value: str) -> None:
    score = said.get(value)
    if isinstance(score, int | float) and not isinstance(score, bool):
        found[str(said.get(name, ""))] = float(score)


def error_of(span: Span, result: str | None) -> str | None:
    """Why the span failed, in the words that say most; None where nothing says that it did."""
    exceptions = [note for note in span.notes if note.name == words.EXCEPTION_EVENT]
    kind = span.attributes.get(words.ERROR_TYPE)
    if not (span.failed or exceptions or kind):
        return None
    said = [text(note.attributes, [words.EXCEPTION_MESSAGE]) for note in exceptions]
    types = [text(note.attributes, [words.EXCEPTION_TYPE]) for note in exceptions]
    names = [name for name in (*types, str(kind) if kind else None) if name]
    details = [word for word in (*said, span.status or None, result) if word]
    return ": ".join([*names[:1], *details[:1]]) or "the span failed"
