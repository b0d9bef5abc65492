"""The contract's section 3, written a second time: which bytes are an event, and what it says.

Shares no code with the worker's decoder; both must refuse the same records.
"""

import json
import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from pairstream.verify.expected import PARTS, Json

Kind = Callable[[Any], Any]

LONGEST_INTEGER = 400
MAX_NESTING = 200
LARGEST_INTEGER = 2**53 - 1

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:?[0-5]\d)", re.ASCII
)


class NotAnEvent(Exception):
    """What stands in the record is no event of the contract."""


def read_event(value: bytes | None) -> Json | None:
    """The fields that the contract knows, null where an optional one is missing.

    Returns: None for an event of a type that the contract does not know.
    Raises: NotAnEvent.
    """
    event = _read_json(value)
    if not isinstance(event, dict):
        raise NotAnEvent("no JSON object")
    kind_of_event = _field(event, "type", _text)
    fields = FIELDS.get(kind_of_event)
    if fields is None:
        return None
    _require(len(set(event["type"])) == 1, "two types")
    read = {"type": kind_of_event}
    for name, kind in {**COMMON, **fields}.items():
        read[name] = _field(event, name, kind)
    if kind_of_event == "code.attempted":
        _check_attempt(read)
    return read


def _read_json(value: bytes | None) -> Any:
    try:
        found = json.loads(
            (value or b"").decode(),
            object_pairs_hook=_every_value,
            parse_int=_whole_number,
            parse_constant=_refuse_constant,
        )
        json.dumps(found, ensure_ascii=False).encode()  # half a character cannot be encoded
        _check_nesting(found, MAX_NESTING)
    except (ValueError, RecursionError) as error:
        raise NotAnEvent("not JSON in UTF-8") from error
    return found


def _check_nesting(value: Any, left: int) -> None:
    if not isinstance(value, dict | list):
        return
    _require(left > 0, "nested too deeply")
    for child in chain.from_iterable(value.values()) if isinstance(value, dict) else value:
        _check_nesting(child, left - 1)


def _every_value(fields: list[tuple[str, Any]]) -> dict[str, list[Any]]:
    """All values of each name: JSON lets a name stand more than once."""
    found: dict[str, list[Any]] = {}
    for name, value in fields:
        found.setdefault(name, []).append(value)
    return found


def _field(event: dict[str, list[Any]], name: str, kind: Kind) -> Any:
    """What stands last under the name; all that stands there must be of the kind."""
    return [kind(value) for value in event.get(name, [None])][-1]


def _whole_number(text: str) -> int | float:
    """Python reads no whole number of more than 4,300 digits; none so large is of any use here."""
    return int(text) if len(text) <= LONGEST_INTEGER else math.inf


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _check_attempt(attempt: Json) -> None:
    if attempt["ran"] and not attempt["compiled"]:
        raise NotAnEvent("ran without compiled")
    if attempt["score"] > 0 and not attempt["ran"]:
        raise NotAnEvent("a score above 0 on an attempt that did not run")


# --- Kinds of fields -----------------------------------------------------------------------------


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise NotAnEvent(what)


def _text(value: Any) -> str:
    _require(isinstance(value, str), "not a text")
    return str(value)


def _run_id(value: Any) -> str:
    _require(1 <= len(_text(value)) <= 256, "not a run_id")
    return str(value)


def _time(value: Any) -> str:
    match = _TIME.fullmatch(_text(value))
    _require(match is not None, "not a time")
    assert match is not None
    date, time, fraction, zone = match.groups()
    try:
        second = datetime.fromisoformat(f"{date}T{time}{zone.upper()}")
        second + timedelta(microseconds=round(float(fraction or 0) * 1e6))
    except (ValueError, OverflowError) as error:
        raise NotAnEvent("not a time") from error
    return str(value)


def _boolean(value: Any) -> bool:
    _require(isinstance(value, bool), "not true or false")
    return bool(value)


def _count(value: Any) -> int:
    _require(type(value) is int and value >= 1, "not a whole number from 1")
    return int(value)


def _attempt(value: Any) -> int:
    _require(_count(value) <= LARGEST_INTEGER, "too large")
    return int(value)


def _score(value: Any) -> float:
    _require(type(value) in (int, float), "not a number")
    try:
        score = float(value)
    except OverflowError as error:
        raise NotAnEvent("too large") from error
    _require(math.isfinite(score) and score >= 0, "not a score")
    return score + 0.0  # -0.0 is 0.0


def _fault(value: Any) -> str:
    _require(value in ("infrastructure", "cancelled"), "not a fault")
    return str(value)


def _texts(value: Any) -> list[str]:
    _require(isinstance(value, list), "not a list")
    return [_text(item) for item in value]


def _message(value: Any) -> Json:
    _require(isinstance(value, dict), "not a message")
    return {name: _field(value, name, _text) for name in ("role", "content")}


def _messages(value: Any) -> list[Json]:
    _require(isinstance(value, list), "not a list")
    return [_message(item) for item in value]


def _prompts(value: Any) -> Json:
    _require(isinstance(value, dict), "not prompts")
    return {part: _field(value, part, _messages) for part in PARTS}


def _optional(kind: Kind) -> Kind:
    return lambda value: None if value is None else kind(value)


COMMON: dict[str, Kind] = {"run_id": _run_id, "time": _time, "event_id": _optional(_text)}

FIELDS: dict[str, dict[str, Kind]] = {
    "run.started": {
        "prompts": _prompts,
        "new_sp_egc_s": _optional(_texts),
        "agent_id": _optional(_text),
        "task_id": _optional(_text),
        "policy_id": _optional(_text),
    },
    "strategy.proposed": {
        "strategy_id": _text,
        "strategy": _text,
        "prompts": _optional(_prompts),
        "new_sp_egc_s": _optional(_texts),
    },
    "code.attempted": {
        "strategy_id": _text,
        "attempt": _attempt,
        "code": _text,
        "compiled": _boolean,
        "ran": _boolean,
        "score": _score,
        "error": _optional(_text),
        "fault": _optional(_fault),
    },
    "score.assigned": {
        "strategy_id": _text,
        "attempt": _attempt,
        "score": _score,
        "by": _optional(_text),
    },
    "run.finished": {},
    "run.expired": {"events": _attempt},
}
