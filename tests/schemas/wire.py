"""Events as they stand in the log: valid ones, and ways to spell them wrong."""

import json
from typing import Any

Event = dict[str, Any]

COMMON = {"run_id": "r-1", "time": "2026-11-23T10:00:00Z"}
PROMPTS = {
    part: [{"role": "user", "content": part}]
    for part in ("system_plist", "basic_env_plist", "special_egc_req_plist", "strat_code_req_plist")
}
STARTED = {"type": "run.started", **COMMON, "prompts": PROMPTS}
PROPOSED = {"type": "strategy.proposed", **COMMON, "strategy_id": "s-1", "strategy": "plan"}
ATTEMPTED = {
    "type": "code.attempted",
    **COMMON,
    "strategy_id": "s-1",
    "attempt": 1,
    "code": "pass",
    "compiled": True,
    "ran": True,
    "score": 1.5,
}
ASSIGNED = {
    "type": "score.assigned",
    **COMMON,
    "strategy_id": "s-1",
    "attempt": 1,
    "score": 2.5,
}
FINISHED = {"type": "run.finished", **COMMON}
EXPIRED = {"type": "run.expired", **COMMON, "events": 1}
VALID: list[Event] = [STARTED, PROPOSED, ATTEMPTED, ASSIGNED, FINISHED, EXPIRED]
BY_TYPE: dict[str, Event] = {event["type"]: event for event in VALID}


def encoded(event: Event, **changed: Any) -> bytes:
    return json.dumps({**event, **changed}).encode()


def spelt(event: Event, name: str, json_text: str) -> bytes:
    """The event with one field spelt as no JSON library would write it."""
    return encoded(event, **{name: "@@"}).replace(b'"@@"', json_text.encode())
