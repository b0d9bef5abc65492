"""What each record does to the runs of its partition: rows, refusals and state."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from streams.partition import Effects, Partition
from streams.state import event_key, marker_key
from tests.streams.histories import (
    IDLE,
    VOID,
    JsonEvent,
    attempted,
    expired,
    finished,
    ok,
    proposed,
    started,
    to_bytes,
    to_log,
)

WHOLE = [started(), proposed(), attempted(1, "a", IDLE), attempted(2, "b", ok(2.0))]
LATER = "2026-11-23T23:59:59Z"


def apply(
    events: Sequence[JsonEvent | bytes], *, partition: Partition | None = None, now_ms: int = 0
) -> Effects:
    runs = partition or Partition(extended=False)
    return runs.apply([record.parts for record in to_log(events)], now_ms=now_ms)


def refusals(effects: Effects) -> list[tuple[int, str]]:
    return [(place, error.reason) for place, error in effects.refused]


def outcomes(effects: Effects) -> list[dict[str, Any]]:
    rows = [(topic.name, value) for topic, _, value in effects.rows]
    return [json.loads(value) for name, value in rows if name == "pairstream.run-outcomes.v1"]


def test_finished_run_gives_its_rows_to_their_topics_under_its_id() -> None:
    effects = apply([*WHOLE, finished()])

    assert [(topic.name, key) for topic, key, _ in effects.rows] == [
        ("pairstream.scored-rows.v1", b"r-1"),
        ("pairstream.scored-rows.v1", b"r-1"),
        ("pairstream.pairs.v1", b"r-1"),
        ("pairstream.run-outcomes.v1", b"r-1"),
    ]
    assert [outcome["settled_by"] for outcome in outcomes(effects)] == ["finished"]
    assert not effects.refused


def test_first_time_run_asks_for_garbling() -> None:
    effects = apply([started(), proposed(), attempted(1, "a", ok(1.0)), finished()])

    asked = [json.loads(v) for t, _, v in effects.rows if t.name == "pairstream.garble-requests.v1"]
    assert [request["response"] for request in asked] == ["strategy", "code"]
    assert "pairstream.pairs.v1" not in {topic.name for topic, _, _ in effects.rows}


def test_open_run_gives_nothing_yet() -> None:
    assert apply(WHOLE).rows == []


# Events after a settled run, and which of them are refused as late.
AFTER: dict[str, tuple[list[JsonEvent], list[int]]] = {
    "all of it once more": ([*WHOLE, finished()], []),
    "all of it, sent at another time": (
        [{**event, "time": LATER, "event_id": "again"} for event in [*WHOLE, finished()]],
        [],
    ),
    "a new attempt": ([attempted(3, "c", IDLE)], [0]),
    "a void attempt": ([attempted(3, "c", VOID)], [0]),
    "another attempt under a known number": ([attempted(1, "other", IDLE)], [0]),
    "a new strategy": ([proposed("s-2")], [0]),
    "another start": ([started(agent_id="other")], [0]),
    "an expiry": ([expired(4), expired(5)], []),
    "known, new, known": ([WHOLE[0], attempted(3, "c", IDLE), finished()], [1]),
    "of another run": ([proposed(run_id="r-2")], []),
}


@pytest.mark.parametrize(("events", "late"), AFTER.values(), ids=AFTER.keys())
def test_what_arrives_after_settling_is_refused_unless_it_was_seen(
    events: list[JsonEvent], late: list[int]
) -> None:
    runs = Partition(extended=False)
    apply([*WHOLE, finished()], partition=runs)

    effects = apply(events, partition=runs)

    assert refusals(effects) == [(place, "run_settled") for place in late]
    assert effects.rows == []


def test_redelivered_conflict_is_known_after_settling() -> None:
    conflict = attempted(1, "other", IDLE)
    effects = apply([*WHOLE, conflict, finished(), conflict])

    assert refusals(effects) == [(4, "conflicting_attempt")]


def test_finish_after_a_timeout_is_late() -> None:
    effects = apply([*WHOLE, expired(4), finished()])

    assert refusals(effects) == [(5, "run_settled")]
    assert [outcome["settled_by"] for outcome in outcomes(effects)] == ["timeout"]


def test_run_of_which_only_the_end_was_seen_has_an_outcome() -> None:
    [outcome] = outcomes(apply([finished("r-9")]))

    assert (outcome["run_id"], outcome["outcome"], outcome["reason"]) == (
        "r-9",
        "discarded",
        "incomplete",
    )


def test_expiry_of_a_run_that_was_never_seen_is_no_run() -> None:
    effects = apply([expired(1)])

    assert (effects.rows, effects.refused, effects.writes) == ([], [], {})


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_expiry_settles_only_what_it_counted(count: int) -> None:
    """Four events and a refused one stand before it; a duplicate is none. One that counted more is
    of a run whose beginning retention has taken.
    """
    conflict, duplicate = attempted(1, "other", IDLE), WHOLE[0]
    effects = apply([*WHOLE, conflict, duplicate, expired(count)])

    assert len(outcomes(effects)) == (1 if count >= 5 else 0)


def test_expiry_that_came_to_nothing_does_so_again_after_a_restart() -> None:
    log = to_log([*WHOLE, expired(3)])
    before = Partition(extended=False)
    effects = before.apply([record.parts for record in log], now_ms=0)
    assert effects.rows == []

    after = Partition(extended=False)
    after.restore((key, value, 0) for key, value in effects.writes.items() if value is not None)

    assert after.apply([record.parts for record in log], now_ms=0).rows == []


BAD = b'{"type": "run.finished", "run_id": '
MIXED_LOG: list[JsonEvent | bytes] = [
    started(),
    BAD,
    proposed(),
    b'{"type": "run.paused", "run_id": "r-1"}',
    attempted(1, "a", ok(1.0)),
    b"",
    attempted(1, "b", ok(1.0)),
    finished(),
    attempted(2, "c", IDLE),
]


def test_refused_records_touch_nothing_else() -> None:
    effects = apply(MIXED_LOG)

    assert refusals(effects) == [
        (1, "invalid_event"),
        (5, "invalid_event"),
        (6, "conflicting_attempt"),
        (8, "run_settled"),
    ]
    assert effects.skipped == 1
    assert [outcome["attempts"] for outcome in outcomes(effects)] == [1]


@pytest.mark.parametrize("key", [None, b"", b"r-2", b"r-1 ", b'"r-1"', b"\xff"])
def test_record_under_another_key_than_its_run_is_refused(key: bytes | None) -> None:
    effects = Partition(extended=False).apply([(key, to_bytes(started()), 0)], now_ms=0)

    assert refusals(effects) == [(0, "invalid_event")]
    assert effects.writes == {}


def test_record_without_a_value_is_refused() -> None:
    effects = Partition(extended=False).apply([(b"r-1", None, 0)], now_ms=0)

    assert refusals(effects) == [(0, "invalid_event")]


@pytest.mark.parametrize("run_id", ["r\x00settled", "\x00", "läuft-😀", "a" * 256, " "])
def test_any_run_id_survives_a_restart(run_id: str) -> None:
    events = [started(run_id), proposed(run_id=run_id), attempted(1, "a", IDLE, run_id=run_id)]
    log = to_log([*events, finished(run_id)])
    first = Partition(extended=False).apply([record.parts for record in log[:-1]], now_ms=0)

    second = Partition(extended=False)
    second.restore((key, value or b"", 0) for key, value in first.writes.items())
    effects = second.apply([log[-1].parts], now_ms=0)

    assert [outcome["attempts"] for outcome in outcomes(effects)] == [1]


def test_state_of_an_open_run_is_its_events_as_they_came() -> None:
    conflict = attempted(1, "other", IDLE)
    log = to_log([*WHOLE, WHOLE[1], conflict])
    effects = Partition(extended=False).apply([record.parts for record in log], now_ms=0)

    kept = [*log[:4], log[5]]
    assert effects.writes == {event_key("r-1", r.offset): r.value for r in kept}


def test_state_of_a_settled_run_is_one_marker_written_first() -> None:
    runs = Partition(extended=False)
    log = to_log([*WHOLE, finished()])
    runs.apply([record.parts for record in log[:2]], now_ms=0)

    writes = runs.apply([record.parts for record in log[2:]], now_ms=0).writes

    removed = [event_key("r-1", record.offset) for record in log[:2]]
    assert list(writes) == [marker_key("r-1"), *removed]
    assert [writes[key] for key in removed] == [None, None]
