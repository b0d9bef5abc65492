"""The rules by which a recorded run becomes events."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairstream.formats.assembling import assemble
from pairstream.formats.encoding import event_bytes
from pairstream.formats.record import (
    Choices,
    LeftOut,
    Mapped,
    Plan,
    Recorded,
    Step,
    Tried,
    Unmapped,
    Unreadable,
    chosen_score,
)
from schemas.events import CodeAttempted, Message, RunFinished, StrategyProposed

TIME = datetime(2026, 11, 30, 10, tzinfo=UTC)
ASKED = [Message("system", "You tidy."), Message("user", "Tidy up.")]


def plan(text: str) -> Plan:
    return Plan(TIME, text)


def ran(code: str, score: float | None = None, *, in_text: bool = False) -> Tried:
    return Tried(f"at {code}", TIME, code, True, True, score=score, in_text=in_text)


def failed(code: str) -> Tried:
    return Tried(f"at {code}", TIME, code, False, False, error="SyntaxError")


def run(*steps: Step, **fields: object) -> Recorded:
    usual = {"place": "file", "run_id": "r-1", "began": TIME, "prompt": ASKED, "ended": TIME}
    return Recorded(steps=list(steps), **{**usual, **fields})  # type: ignore[arg-type]


def attempts(of: Recorded) -> list[tuple[str, int, str, float]]:
    events = [item.event for item in assemble(of) if isinstance(item, Mapped)]
    return [
        (event.strategy_id, event.attempt, event.code, event.score)
        for event in events
        if isinstance(event, CodeAttempted)
    ]


def refusals(of: Recorded) -> list[str]:
    return [item.why for item in assemble(of) if isinstance(item, Unmapped)]


def test_plans_of_the_same_words_are_one_strategy() -> None:
    of = run(plan("a"), failed("1"), plan("b"), ran("2", 1), plan("a "), ran("3", 2))

    assert attempts(of) == [("s-1", 1, "1", 0), ("s-2", 2, "2", 1), ("s-1", 3, "3", 2)]


def test_score_of_the_whole_run_is_that_of_all_code_that_ran() -> None:
    of = run(plan("a"), failed("1"), ran("2"), plan("b"), ran("3"), score=4.0)

    assert attempts(of) == [("s-1", 1, "1", 0), ("s-1", 3, "2\n3", 4)]


def test_score_of_its_own_wins_over_that_of_the_run() -> None:
    of = run(plan("a"), ran("1", 2), ran("2", 3), score=9.0)

    assert attempts(of) == [("s-1", 1, "1", 2), ("s-1", 2, "2", 3)]


def test_strategy_of_which_nothing_was_judged_is_left_out_with_its_failures() -> None:
    of = run(plan("a"), failed("1"), ran("2"), plan("b"), ran("3", 1))

    assert attempts(of) == [("s-1", 3, "3", 1)]
    assert [item.place for item in assemble(of) if isinstance(item, LeftOut)] == ["at 2"]


def test_run_that_nobody_judged_gives_nothing() -> None:
    of = run(plan("a"), failed("1"), ran("2"))

    assert attempts(of) == []
    assert refusals(of) == ["its code ran, and no score says what it was worth"]


def test_run_that_only_failed_is_told_as_it_is() -> None:
    assert attempts(run(plan("a"), failed("1"))) == [("s-1", 1, "1", 0)]


def test_fault_makes_all_that_was_tried_void() -> None:
    of = run(plan("a"), failed("1"), ran("2"), score=3.0, fault="infrastructure")

    events = [item.event for item in assemble(of) if isinstance(item, Mapped)]
    told = [(e.code, e.fault, e.score) for e in events if isinstance(e, CodeAttempted)]
    assert told == [("1", "infrastructure", 0), ("2", "infrastructure", 0)]


def test_code_in_messages_counts_only_where_no_tool_ran_any() -> None:
    example = ran("example", in_text=True)

    assert attempts(run(plan("a"), ran("1", 1), plan("done"), example)) == [("s-1", 1, "1", 1)]
    assert attempts(run(plan("a"), example, score=2.0)) == [("s-1", 1, "example", 2)]


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (run(ran("1", 1)), "code without a plan: nothing was said first"),
        (run(plan("a"), ran("1", 1), prompt=[]), "nothing says what the agent was asked"),
        (run(plan("a")), "no attempt: no known tool ran code; name others with --code-tool NAME"),
    ],
)
def test_what_is_missing_is_said(of: Recorded, why: str) -> None:
    assert refusals(of) == [why]
    assert attempts(of) == []


def test_run_without_an_end_is_left_to_the_run_timeout() -> None:
    events = [
        i.event for i in assemble(run(plan("a"), ran("1", 1), ended=None)) if isinstance(i, Mapped)
    ]

    assert not any(isinstance(event, RunFinished) for event in events)


def test_messages_of_the_system_come_first_and_the_request_after() -> None:
    started = next(assemble(run(plan("a"), ran("1", 1))))

    assert isinstance(started, Mapped)
    prompts = started.event.prompts  # type: ignore[union-attr]
    assert (prompts.system_plist, prompts.strat_code_req_plist) == (ASKED[:1], ASKED[1:])


steps = st.lists(
    st.one_of(
        st.sampled_from(["a", "b", ""]).map(plan),
        st.builds(ran, st.sampled_from(["x", "y"]), st.sampled_from([None, 0.0, 1.5])),
        st.sampled_from(["x", "y"]).map(failed),
    ),
    max_size=8,
)


@given(steps, st.sampled_from([None, 0.0, 2.0]))
def test_every_event_is_one_of_the_contract_and_names_are_used_once(
    made: list[Step], score: float | None
) -> None:
    events = [i.event for i in assemble(run(*made, score=score)) if isinstance(i, Mapped)]

    for event in events:
        event_bytes(event)
    strategies = [e.strategy_id for e in events if isinstance(e, StrategyProposed)]
    places = [(e.strategy_id, e.attempt) for e in events if isinstance(e, CodeAttempted)]
    assert len(set(strategies)) == len(strategies)
    assert len(set(places)) == len(places)
    assert {strategy_id for strategy_id, _ in places} == set(strategies)


@given(steps, st.sampled_from([None, 0.0, 2.0]))
def test_no_score_is_invented(made: list[Step], score: float | None) -> None:
    told = {tried.score for tried in made if isinstance(tried, Tried)} | {score, 0.0}

    assert {each for *_, each in attempts(run(*made, score=score))} <= told


@pytest.mark.parametrize(
    ("scores", "name", "chosen"),
    [
        ({}, None, None),
        ({"a": 1.0}, None, 1.0),
        ({"a": 1.0, "b": 2.0}, "b", 2.0),
        ({"a": 1.0}, "b", None),
    ],
)
def test_score_is_the_chosen_one_or_the_only_one(
    scores: dict[str, float], name: str | None, chosen: float | None
) -> None:
    assert chosen_score(scores, Choices(score_name=name)) == chosen


@pytest.mark.parametrize(
    ("scores", "why"),
    [
        ({"a": 1.0, "b": 2.0}, r"several scores \(a, b\): choose with --score NAME"),
        ({"a": -1.0}, "negative"),
        ({"a": float("nan")}, "not finite"),
    ],
)
def test_score_that_cannot_count_is_said(scores: dict[str, float], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        chosen_score(scores, Choices())
