"""What fuzzing has found, input by input, so that it stays found."""

from collections.abc import Callable
from typing import TypeVar

import pytest

from pairstream.verify.events import NotAnEvent, read_event
from schemas.errors import InvalidRecord
from schemas.events import parse_event
from streams.partition import Partition
from tests.fuzz.test_inputs import assert_implementations_agree
from tests.schemas.wire import ATTEMPTED, EXPIRED, FINISHED, STARTED, encoded, spelt
from tests.streams.histories import (
    IDLE,
    attempted,
    finished,
    proposed,
    started,
    to_log,
)

T = TypeVar("T")

WHOLE = encoded(FINISHED)
PAUSED = {**FINISHED, "type": "run.paused"}

DIFFERENCES = {
    "a wrong run_id, then a right one": WHOLE.replace(b'"run_id"', b'"run_id": 5, "run_id"'),
    "a wrong content, then a right one": (
        encoded(STARTED).replace(b'"content"', b'"content": null, "content"')
    ),
    "an unknown type, then a known one": WHOLE.replace(b'"type"', b'"type": "run.paused", "type"'),
    "a type that is no text, then an unknown one": (
        encoded(PAUSED).replace(b'"type"', b'"type": 5, "type"')
    ),
    "a score out of range, then one in range": (
        encoded(ATTEMPTED).replace(b'"score"', b'"score": -1, "score"')
    ),
    "5,000 digits in an unknown field": spelt(FINISHED, "more", "1" * 5_000),
    "5,000 digits in an unknown type": spelt(PAUSED, "more", "1" * 5_000),
    "a zone of 60 minutes": encoded(FINISHED, time="2026-11-23T10:00:00+05:60"),
    "an Arabic digit in a fraction": encoded(FINISHED, time="2026-11-23T10:00:00.\u0665Z"),
}  # fmt: skip


@pytest.mark.parametrize("value", DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_both_readers_say_the_same_of_it(value: bytes) -> None:
    assert said(lambda: read_event(value)) == said(lambda: parse_event(value))


def said(read: Callable[[], object]) -> str:
    try:
        return "unknown" if read() is None else "event"
    except (InvalidRecord, NotAnEvent):
        return "refused"


def test_an_expiry_of_more_events_than_64_bits_hold_ends_no_worker() -> None:
    expiry = spelt({**EXPIRED, "run_id": "r-1"}, "events", str(2**64))

    effects = Partition(extended=False).apply(
        [(b"r-1", encoded(STARTED), 0), (b"r-1", expiry, 1)], now_ms=0
    )

    assert len(effects.refused) + bool(effects.rows) == 1


# --- Nesting -------------------------------------------------------------------------------------

NESTED = spelt(STARTED, "more", "[" * 800 + "]" * 800)


def deeper(frames: int, call: Callable[[], T]) -> T:
    """What it gives when so many more frames of Python stand below it."""
    return deeper(frames - 1, call) if frames else call()


def test_the_verdict_on_nested_values_is_the_same_wherever_it_is_asked_for() -> None:
    here = said(lambda: parse_event(NESTED))

    assert deeper(400, lambda: said(lambda: parse_event(NESTED))) == here


def test_a_state_can_be_restored_wherever_it_is_asked_for() -> None:
    writes = Partition(extended=False).apply([(b"r-1", NESTED, 0)], now_ms=0).writes
    state = [(key, value, 0) for key, value in writes.items() if value is not None]

    deeper(400, lambda: Partition(extended=False).restore(state))


# --- Rows ----------------------------------------------------------------------------------------


def test_a_score_of_minus_zero_says_what_zero_says() -> None:
    zero = attempted(1, "x = 1", IDLE)
    minus_zero = {**zero, "score": -0.0}
    log = to_log([started(), proposed(), zero, minus_zero, finished(), minus_zero])

    effects = Partition(extended=False).apply([record.parts for record in log], now_ms=0)

    assert effects.refused == []
    assert_implementations_agree(log)
