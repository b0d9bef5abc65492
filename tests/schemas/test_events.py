"""Contract, section 3: what is an event, and what is merely of another kind."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.errors import InvalidRecord
from schemas.events import (
    CodeAttempted,
    RunExpired,
    RunFinished,
    RunStarted,
    StrategyProposed,
    parse_event,
    run_id_of_unknown,
)
from tests.schemas.wire import (
    ATTEMPTED,
    BY_TYPE,
    EXPIRED,
    FINISHED,
    PROMPTS,
    PROPOSED,
    STARTED,
    VALID,
    encoded,
    spelt,
)


@pytest.mark.parametrize("event", VALID, ids=BY_TYPE)
def test_unknown_fields_are_ignored(event: dict[str, Any]) -> None:
    more = {"more": {"deep": [1, None, {"type": "x"}]}, "Type": "x", "_": "\u00e9\U0001f600"}

    assert parse_event(encoded({**more, **event, "schema_version": 9})) == parse_event(
        encoded(event)
    )


UNKNOWN_TYPES: dict[str, bytes] = {
    "another word": encoded(FINISHED, type="run.paused"),
    "an empty word": encoded(FINISHED, type=""),
    "another case": encoded(FINISHED, type="RUN.FINISHED"),
    "with fields of any shape": encoded({"type": "run.paused", "run_id": 5, "time": "now"}),
    "the type at the end": b'{"run_id": "r-1", "time": "2026-11-23T10:00:00Z", "type": "x"}',
}


@pytest.mark.parametrize("value", UNKNOWN_TYPES.values(), ids=UNKNOWN_TYPES.keys())
def test_event_of_an_unknown_type_is_none(value: bytes) -> None:
    assert parse_event(value) is None


def test_event_of_an_unknown_type_names_its_run() -> None:
    assert run_id_of_unknown(UNKNOWN_TYPES["another word"]) == "r-1"


@pytest.mark.parametrize("run_id", ["5", '""', "null", '"' + "x" * 257 + '"'])
def test_event_of_an_unknown_type_without_a_run_is_invalid(run_id: str) -> None:
    with pytest.raises(InvalidRecord, match="run_id"):
        run_id_of_unknown(spelt({**FINISHED, "type": "run.paused"}, "run_id", run_id))


NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-23T12:00:00Z",
        "2026-11-23t12:00:00z",
        "2026-11-23 12:00:00Z",
        "2026-11-23T12:00:00.000000000Z",
        "2026-11-23T17:30:00+05:30",
        "2026-11-23T02:00:00-10:00",
        "2026-11-23T12:00:00-00:00",
    ],
)
def test_time_is_what_rfc_3339_allows(time: str) -> None:
    event = parse_event(encoded(FINISHED, time=time))

    assert event is not None
    assert event.time == NOON


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (encoded(STARTED), RunStarted),
        (encoded(STARTED, agent_id=None, task_id=None, policy_id=None, event_id=None), RunStarted),
        (encoded(STARTED, prompts={part: [] for part in PROMPTS}), RunStarted),
        (encoded(STARTED, new_sp_egc_s=[]), RunStarted),
        (encoded(PROPOSED), StrategyProposed),
        (encoded(PROPOSED, prompts=PROMPTS, new_sp_egc_s=["get()"]), StrategyProposed),
        (encoded(PROPOSED, strategy=""), StrategyProposed),
        (encoded(ATTEMPTED), CodeAttempted),
        (encoded(ATTEMPTED, score=2), CodeAttempted),
        (encoded(ATTEMPTED, score=1e308, attempt=2**53 - 1), CodeAttempted),
        (encoded(ATTEMPTED, ran=False, score=0, error="Killed"), CodeAttempted),
        (encoded(ATTEMPTED, compiled=False, ran=False, score=0.0), CodeAttempted),
        (encoded(ATTEMPTED, fault="infrastructure"), CodeAttempted),
        (encoded(ATTEMPTED, fault="cancelled"), CodeAttempted),
        (encoded(ATTEMPTED, fault=None, error=None), CodeAttempted),
        (encoded(FINISHED), RunFinished),
        (b" \t\r\n" + encoded(FINISHED) + b"\r\n", RunFinished),
        (encoded(FINISHED, run_id="x" * 256), RunFinished),
        (encoded(FINISHED, run_id="\U0001f600" * 256), RunFinished),
        (spelt(FINISHED, "run_id", '"\\ud83d\\ude00"'), RunFinished),
        (spelt(FINISHED, "run_id", '"\\u0000"'), RunFinished),
        (encoded(EXPIRED), RunExpired),
    ],
)
def test_event_of_the_contract_is_taken(value: bytes, type_: type) -> None:
    event = parse_event(value)

    assert event is not None
    assert type(event) is type_
    assert event.run_id.encode()
