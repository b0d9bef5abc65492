"""How events are folded into one run: what stands, what is known again, what is refused."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidRecord
from schemas.events import CodeAttempted, parse_event
from streams.pairing import settle
from streams.runs import AgentEvent, Folded, Run, event_digest
from tests.streams.histories import (
    BROKEN,
    MODEST,
    VOID,
    JsonEvent,
    attempted,
    conflicting,
    distinct_events,
    fold,
    ok,
    proposed,
    settled,
    started,
    to_bytes,
)


def typed(event: JsonEvent) -> AgentEvent:
    parsed = parse_event(to_bytes(event))
    assert isinstance(parsed, AgentEvent)
    return parsed


PLACES = {
    "conflicting_start": started(agent_id="a"),
    "conflicting_strategy": proposed(),
    "conflicting_attempt": attempted(1, "x", ok(1.0), error="warning"),
}


@pytest.mark.parametrize("event", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize(
    "resent",
    [{}, {"time": "2026-11-24T00:00:00+05:30"}, {"event_id": "e-9"}, {"unknown": [1, {"a": 2}]}],
)
def test_same_event_twice_changes_nothing(event: JsonEvent, resent: JsonEvent) -> None:
    run = Run("r-1")

    assert run.fold(typed(event)) is Folded.NEW
    assert run.fold(typed({**event, **resent})) is Folded.DUPLICATE
    assert settle(run, "finished", extended=True) == settled([event], extended=True)
    assert len(list(run.digests())) == 1


def test_whole_number_says_the_same_as_its_float() -> None:
    run = Run("r-1")

    assert run.fold(typed(attempted(1, "x", ok(2)))) is Folded.NEW
    assert run.fold(typed(attempted(1, "x", ok(2.0)))) is Folded.DUPLICATE


@pytest.mark.parametrize(("reason", "event"), PLACES.items(), ids=PLACES.keys())
def test_first_of_two_that_conflict_stands(reason: str, event: JsonEvent) -> None:
    run = Run("r-1")
    run.fold(typed(event))
    other = typed(conflicting(event))

    with pytest.raises(InvalidRecord) as refused:
        run.fold(other)

    assert refused.value.reason == reason
    assert settle(run, "finished", extended=True) == settled([event], extended=True)
    assert run.fold(other) is Folded.DUPLICATE
    assert run.fold(typed(event)) is Folded.DUPLICATE


@pytest.mark.parametrize(
    "changed",
    [
        {"code": "y"},
        {"score": 2.0},
        {"compiled": False, "ran": False, "score": 0},
        {"error": None},
        {"fault": "cancelled"},
    ],
)
def test_attempt_with_another_result_conflicts(changed: JsonEvent) -> None:
    run = Run("r-1")
    run.fold(typed(PLACES["conflicting_attempt"]))

    with pytest.raises(InvalidRecord, match="conflicting_attempt"):
        run.fold(typed({**PLACES["conflicting_attempt"], **changed}))


def test_each_conflict_is_refused_once() -> None:
    run = fold([attempted(1, "x", ok(1.0))])
    for code in ("y", "z"):
        with pytest.raises(InvalidRecord):
            run.fold(typed(attempted(1, code, ok(1.0))))

    assert run.fold(typed(attempted(1, "y", ok(1.0)))) is Folded.DUPLICATE
    assert len(run.refused) == 2


def test_attempts_of_two_strategies_may_share_a_number() -> None:
    run = fold([attempted(1, "x", ok(1.0), strategy_id=name) for name in ("s-1", "s-2")])

    assert list(run.attempts) == [("s-1", 1), ("s-2", 1)]


@MODEST
@given(st.data(), st.booleans())
def test_order_of_arrival_and_duplicates_change_no_result(
    data: st.DataObject, extended: bool
) -> None:
    events = data.draw(distinct_events())
    duplicates = data.draw(st.lists(st.sampled_from(events), max_size=4)) if events else []
    arrived = data.draw(st.permutations(events + duplicates))

    assert settled(arrived, extended=extended) == settled(events, extended=extended)


@MODEST
@given(distinct_events())
def test_pairs_are_fair(events: list[JsonEvent]) -> None:
    """The chosen side is a success with the best score, the rejected one is another text."""
    settlement = settled(events, extended=True)
    attempts = {(e["strategy_id"], e["attempt"]): e for e in events if "code" in e}
    for event in events:
        place = (event.get("strategy_id"), event.get("attempt"))
        if event["type"] == "score.assigned" and attempts.get(place, VOID)["ran"]:
            attempts[place] = {**attempts[place], "score": event["score"]}
    successes = [e for e in attempts.values() if e["score"] > 0 and "fault" not in e]
    for pair in settlement.pairs + [request.pair for request in settlement.garble_requests]:
        of_all = pair.rule == "strategy_contrast"
        rivals = [e["score"] for e in successes if of_all or e["strategy_id"] == pair.strategy_id]

        assert pair.chosen_score == max(rivals)
        assert pair.chosen != pair.rejected
        if pair.rejected_attempt is not None:
            failed = attempts[pair.strategy_id, pair.rejected_attempt]
            assert failed["score"] == pair.rejected_score == 0


@MODEST
@given(distinct_events())
def test_ids_are_unique_within_a_run(events: list[JsonEvent]) -> None:
    settlement = settled(events, extended=True)
    pairs = settlement.pairs + [request.pair for request in settlement.garble_requests]

    assert len({pair.pair_id for pair in pairs}) == len(pairs) == settlement.outcome.pairs
    rows = settlement.scored_rows
    assert len({row.row_id for row in rows}) == len(rows) == settlement.outcome.scored_rows


DIFFERENT: list[Any] = [
    started(),
    started(agent_id="s-1"),
    started(task_id="s-1"),
    proposed(),
    proposed("s-2", strategy="plan s-1"),
    attempted(1, "x", ok(1.0)),
    attempted(2, "x", ok(1.0)),
    attempted(1, "x", ok(1.5)),
    attempted(1, "x", BROKEN),
    attempted(1, "x", VOID),
    attempted(1, "x", VOID, error="x"),
]


def test_digests_tell_events_apart() -> None:
    for one, other in itertools.combinations(DIFFERENT, 2):
        assert event_digest(typed(one)) != event_digest(typed(other))


def test_digests_stand_in_the_order_of_the_log() -> None:
    """The marker in the state is made of them: every worker must write the same one."""
    refused = [attempted(1, f"other {number}", BROKEN) for number in range(12)]
    log = [attempted(1, "x", BROKEN), *refused]

    assert list(fold(log).digests()) == [event_digest(typed(event)) for event in log]


def test_digest_owes_nothing_to_when_it_was_sent() -> None:
    event = attempted(1, "x", ok(1.0))
    again = {**event, "time": "2027-01-01T00:00:00Z", "event_id": "e-2"}

    assert event_digest(typed(event)) == event_digest(typed(again))


@pytest.mark.parametrize(
    ("compiled", "ran", "score", "fault", "expected"),
    [
        (False, False, 0, None, (False, False, False)),
        (True, False, 0, None, (False, False, False)),
        (True, True, 0, None, (True, False, False)),
        (True, True, 5e-324, None, (True, True, False)),
        (True, True, 1, None, (True, True, False)),
        (True, True, 1, "infrastructure", (True, True, True)),
        (True, True, 1, "cancelled", (True, True, True)),
    ],
)
def test_attempt_is_runnable_a_success_or_void(
    compiled: bool, ran: bool, score: float, fault: str | None, expected: tuple[bool, ...]
) -> None:
    fields = {"compiled": compiled, "ran": ran, "score": score, "fault": fault}
    attempt = typed(attempted(1, "x", fields))

    assert isinstance(attempt, CodeAttempted)
    assert (attempt.is_runnable, attempt.is_success, attempt.is_void) == expected
