"""The contract's events as JSON: built, checked and encoded. Pure.

Every value is checked before it is sent, so that no event becomes a dead letter later, where the
agent's author would not see it.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import NamedTuple

from pairstream_client.errors import Refused

# The four parts of the full prompt, in the order in which they are joined.
PROMPT_PARTS = (
    "system_plist",
    "basic_env_plist",
    "special_egc_req_plist",
    "strat_code_req_plist",
)
# An agent's prompts: for each part a list of {"role", "content"}.
Prompts = Mapping[str, Sequence[Mapping[str, str]]]

FAULTS = ("infrastructure", "cancelled")
MAX_RUN_ID_CHARACTERS = 256
# The largest whole number that every JSON implementation reads exactly.
MAX_ATTEMPT = 2**53 - 1

DEFAULT_SOURCE = "pairstream-client"

Fields = dict[str, object]

_to_json = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode


class Event(NamedTuple):
    """A valid event, ready to be sent."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def run_started(
    *, prompts: object, new_sp_egc_s: object, agent_id: object, task_id: object, policy_id: object
) -> Fields:
    """Raises: Refused, as all of these functions do, when a value is none of the contract's."""
    return {"type": "run.started", "prompts": _prompts(prompts)} | _given(
        agent_id=_optional_text("agent_id", agent_id),
        task_id=_optional_text("task_id", task_id),
        policy_id=_optional_text("policy_id", policy_id),
        new_sp_egc_s=_optional_texts("new_sp_egc_s", new_sp_egc_s),
    )


def strategy_proposed(
    *, strategy_id: object, strategy: object, prompts: object, new_sp_egc_s: object
) -> Fields:
    return {
        "type": "strategy.proposed",
        "strategy_id": _text("strategy_id", strategy_id),
        "strategy": _text("strategy", strategy),
    } | _given(
        prompts=None if prompts is None else _prompts(prompts),
        new_sp_egc_s=_optional_texts("new_sp_egc_s", new_sp_egc_s),
    )


def code_attempted(  # noqa: PLR0913 - the contract's fields
    *,
    strategy_id: object,
    attempt: int,
    code: object,
    compiled: object,
    ran: object,
    score: object,
    error: object,
    fault: object,
) -> Fields:
    if _optional_text("fault", fault) not in (None, *FAULTS):
        raise Refused(f"fault is none of {', '.join(FAULTS)}")
    fields: Fields = {
        "type": "code.attempted",
        "strategy_id": _text("strategy_id", strategy_id),
        "attempt": attempt,
        "code": _text("code", code),
        "compiled": _truth("compiled", compiled),
        "ran": _truth("ran", ran),
        "score": checked_score(score),
        "error": _optional_text("error", error),
    } | _given(fault=fault)
    if fields["ran"] and not fields["compiled"]:
        raise Refused("ran without compiled")
    if fields["score"] and not fields["ran"]:
        raise Refused("score is above 0 but the code did not run")
    return fields


def attempt_number(value: object) -> int:
    # Numbers of numpy are whole numbers too; True and False are none here.
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise Refused("attempt is no whole number")
    number = int(value)
    if not 1 <= number <= MAX_ATTEMPT:
        raise Refused(f"attempt is not from 1 to {MAX_ATTEMPT}")
    return number


def score_assigned(*, strategy_id: object, attempt: int, score: object, by: object) -> Fields:
    return {
        "type": "score.assigned",
        "strategy_id": _text("strategy_id", strategy_id),
        "attempt": attempt,
        "score": checked_score(score),
    } | _given(by=_optional_text("by", by))


def run_finished() -> Fields:
    return {"type": "run.finished"}


def encode(fields: Fields, *, run_id: object, time: str, event_id: str, source: object) -> Event:
    """Make the record: the run's id as key, JSON as value, CloudEvents' binary mode as headers.

    Args:
        time: RFC 3339.
        source: who reports; the agent's id, if it is a text.
    """
    run = _text("run_id", run_id)
    if not 1 <= len(run) <= MAX_RUN_ID_CHARACTERS:
        raise Refused(f"run_id has not 1 to {MAX_RUN_ID_CHARACTERS} characters")
    try:
        key = run.encode()
        value = _to_json({**fields, "run_id": run, "time": time, "event_id": event_id}).encode()
    except UnicodeEncodeError:
        raise Refused("a text holds lone surrogates, which UTF-8 cannot say") from None
    name = source if isinstance(source, str) and source else DEFAULT_SOURCE
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_type", str(fields["type"]).encode()),
        ("ce_id", event_id.encode()),
        ("ce_source", name.encode(errors="replace")),
        ("ce_time", time.encode()),
        ("content-type", b"application/json"),
    ]
    return Event(key, value, headers)


def _given(**fields: object) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}


def _prompts(value: object) -> dict[str, list[dict[str, str]]]:
    if not isinstance(value, Mapping):
        raise Refused("prompts is no dict")
    return {
        part: [_message(part, m) for m in _list(part, value.get(part))] for part in PROMPT_PARTS
    }


def _message(part: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise Refused(f"{part} holds something else than messages")
    return {name: _text(f"{name} in {part}", value.get(name)) for name in ("role", "content")}


def _list(name: str, value: object) -> Iterable[object]:
    if not isinstance(value, (list, tuple)):
        raise Refused(f"{name} is no list")
    return value


def _optional_texts(name: str, value: object) -> list[str] | None:
    if value is None:
        return None
    return [_text(f"an item of {name}", item) for item in _list(name, value)]


def _optional_text(name: str, value: object) -> str | None:
    return None if value is None else _text(name, value)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise Refused(f"{name} is no text")
    return value


def _truth(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise Refused(f"{name} is neither True nor False")
    return value


def checked_score(value: object) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise Refused("score is no number")
    try:
        score = float(value)
    except OverflowError:
        score = math.inf
    if not 0 <= score < math.inf:
        raise Refused("score is negative, infinite or NaN")
    return score
