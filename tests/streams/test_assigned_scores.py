"""Scores that come later or from elsewhere: what they change, and that their order does not."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairstream.verify.expected import settle as expected
from schemas.errors import InvalidRecord
from schemas.events import parse_event
from streams.partition import Partition
from streams.runs import AgentEvent, Folded, Run
from tests.streams.histories import (
    BROKEN,
    CRASHED,
    IDLE,
    MODEST,
    VOID_SUCCESS,
    JsonEvent,
    assigned,
    attempted,
    finished,
    fold,
    ok,
    proposed,
    settled,
    started,
    to_bytes,
    to_log,
)

HEAD = [started(), proposed()]


def typed(event: JsonEvent) -> AgentEvent:
    parsed = parse_event(to_bytes(event))
    assert isinstance(parsed, AgentEvent)
    return parsed


def pairs_of(*events: JsonEvent) -> list[tuple[int | None, int | None, float | None]]:
    return [
        (pair.chosen_attempt, pair.rejected_attempt, pair.chosen_score)
        for pair in settled([*HEAD, *events]).pairs
    ]


def test_assigned_score_stands_instead_of_the_attempts_own() -> None:
    attempts = [attempted(1, "a", ok(5.0)), attempted(2, "b", ok(1.0)), attempted(3, "c", IDLE)]

    assert pairs_of(*attempts) == [(1, 3, 5.0)]
    assert pairs_of(*attempts, assigned(2, 7.0)) == [(2, 3, 7.0)]
    assert pairs_of(*attempts, assigned(1, 0), assigned(3, 2.0)) == [(3, 1, 2.0)]


@pytest.mark.parametrize("what", [BROKEN, CRASHED, VOID_SUCCESS])
def test_score_of_what_did_not_run_or_is_void_counts_nothing(what: JsonEvent) -> None:
    events = [*HEAD, attempted(1, "a", what), attempted(2, "b", ok(1.0))]

    assert settled([*events, assigned(1, 9.0)]) == settled(events)


def test_score_of_an_attempt_that_never_came_makes_the_run_incomplete() -> None:
    events = [*HEAD, attempted(1, "a", ok(1.0)), assigned(2, 9.0)]

    assert settled(events).outcome.reason == "incomplete"
    assert settled([*events, attempted(2, "b", IDLE)]).outcome.reason is None


def test_run_of_idle_attempts_is_paired_by_a_score_that_comes_later() -> None:
    events = [*HEAD, attempted(1, "a", IDLE), attempted(2, "b", IDLE)]

    assert settled(events).outcome.reason == "never_succeeded"
    assert pairs_of(*events[2:], assigned(2, 3.0)) == [(2, 1, 3.0)]


@pytest.mark.parametrize("again", [{}, {"time": "2026-11-24T00:00:00Z"}, {"by": "another"}])
def test_same_score_again_is_a_duplicate_whoever_says_it(again: JsonEvent) -> None:
    run = fold([*HEAD, attempted(1, "a", IDLE), assigned(1, 3.0, by="ci")])

    assert run.fold(typed(assigned(1, 3.0, by="ci") | again)) is Folded.DUPLICATE


def test_another_score_for_the_attempt_is_refused_once_and_the_first_stands() -> None:
    run = fold([*HEAD, attempted(1, "a", IDLE), assigned(1, 3.0)])

    with pytest.raises(InvalidRecord, match="conflicting_score"):
        run.fold(typed(assigned(1, 4.0)))
    assert run.fold(typed(assigned(1, 4.0))) is Folded.DUPLICATE
    assert run.judged().attempts["s-1", 1].score == 3.0


def test_zero_has_no_sign() -> None:
    run = fold([assigned(1, 0.0)])

    assert run.fold(typed(assigned(1, -0.0))) is Folded.DUPLICATE


def test_score_after_the_run_was_settled_is_refused_unless_it_was_known() -> None:
    known, late = assigned(1, 3.0), assigned(2, 3.0)
    events = [*HEAD, attempted(1, "a", IDLE), attempted(2, "b", IDLE), known, finished()]

    effects = Partition(extended=False).apply(
        [record.parts for record in to_log([*events, known, late])], now_ms=0
    )

    assert [(index, error.reason) for index, error in effects.refused] == [(7, "run_settled")]


EVENTS: list[JsonEvent] = [
    started(),
    proposed(),
    attempted(1, "a", IDLE),
    attempted(2, "b", BROKEN),
    attempted(3, "c", ok(1.0)),
    assigned(1, 2.0),
    assigned(2, 9.0),
]


def test_every_order_of_arrival_gives_the_same_rows() -> None:
    given_rows = {msgspec.json.encode(settled(order)) for order in itertools.permutations(EVENTS)}

    assert len(given_rows) == 1


@MODEST
@given(st.permutations(EVENTS), st.integers(0, len(EVENTS)), st.booleans())
def test_second_implementation_agrees_on_any_part_of_a_run_in_any_order(
    order: list[JsonEvent], size: int, extended: bool
) -> None:
    given_rows: Any = msgspec.to_builtins(settled(order[:size], extended=extended))
    wanted = expected("r-1", order[:size], settled_by="finished", extended=extended)

    assert given_rows["outcome"] == wanted["outcome"]
    assert given_rows["scored_rows"] == wanted["scored_rows"]
    ids = {pair["pair_id"] for pair in given_rows["pairs"]}
    ids |= {request["pair"]["pair_id"] for request in given_rows["garble_requests"]}
    assert ids == {pair["pair_id"] for pair in wanted["pairs"]}


def test_run_without_assigned_scores_is_judged_as_it_is() -> None:
    run = fold([*HEAD, attempted(1, "a", ok(1.0))])

    assert run.judged() is run
    assert isinstance(run, Run)
