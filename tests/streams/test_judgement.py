"""Contract, section 4.2: which runs are discarded and why, and what outcomes count."""

from typing import Any

import msgspec
import pytest

from tests.streams.histories import (
    BROKEN,
    CRASHED,
    IDLE,
    VOID,
    VOID_SUCCESS,
    JsonEvent,
    attempted,
    ok,
    proposed,
    settled,
    started,
)
from tests.streams.tables import (
    Attempts,
    a_run,
    all_pairs,
)

DISCARDED: dict[str, tuple[dict[str, Attempts], str]] = {
    "no strategy": ({}, "no_runnable_code"),
    "a strategy without attempts": ({"s-1": []}, "no_runnable_code"),
    "all void": ({"s-1": [("a", VOID), ("b", VOID_SUCCESS)]}, "void"),
    "void in all strategies": ({"s-1": [("a", VOID)], "s-2": [("b", VOID)]}, "void"),
    "nothing compiled": ({"s-1": [("a", BROKEN)]}, "no_runnable_code"),
    "compiled, did not run": ({"s-1": [("a", CRASHED)]}, "no_runnable_code"),
    "runnable only where it is void": (
        {"s-1": [("a", VOID_SUCCESS), ("b", BROKEN)]},
        "no_runnable_code",
    ),
    "ran without effect": ({"s-1": [("a", BROKEN), ("b", IDLE)]}, "never_succeeded"),
    "success only where it is void": (
        {"s-1": [("a", VOID_SUCCESS)], "s-2": [("b", IDLE)]},
        "never_succeeded",
    ),
    "success and failure in different strategies": (
        {"s-1": [("a", ok(1.0))], "s-2": [("b", BROKEN)]},
        "no_shared_prompt",
    ),
}


@pytest.mark.parametrize(("strategies", "reason"), DISCARDED.values(), ids=DISCARDED.keys())
def test_run_without_a_fair_pair_is_discarded(strategies: dict[str, Attempts], reason: str) -> None:
    settlement = settled(a_run(strategies))

    assert (settlement.outcome.outcome, settlement.outcome.reason) == ("discarded", reason)
    assert all_pairs(settlement) == []
    assert settlement.outcome.pairs == 0


MISSING: dict[str, list[JsonEvent]] = {
    "never started": [proposed(), attempted(1, "a", BROKEN), attempted(2, "b", ok(1.0))],
    "never proposed": [started(), attempted(1, "a", BROKEN), attempted(2, "b", ok(1.0))],
    "one of two never proposed": [
        *a_run({"s-1": [("a", BROKEN), ("b", ok(1.0))]}),
        attempted(1, "c", IDLE, strategy_id="s-2"),
    ],
    "nothing but an end": [],
    "void, and never proposed": [started(), attempted(1, "a", VOID)],
}


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("events", MISSING.values(), ids=MISSING.keys())
def test_run_with_a_missing_part_is_incomplete(events: list[JsonEvent], extended: bool) -> None:
    settlement = settled(events, extended=extended)
    attempts = [event for event in events if event["type"] == "code.attempted"]

    assert (settlement.outcome.outcome, settlement.outcome.reason) == ("discarded", "incomplete")
    assert settlement.outcome.attempts == len(attempts)
    assert all_pairs(settlement) == []


def test_run_gives_no_pair_of_equal_texts() -> None:
    """The one failure has the text of the success: there is nothing to prefer."""
    settlement = settled(a_run({"s-1": [("a", IDLE), ("a", ok(1.0))]}))

    assert all_pairs(settlement) == []
    assert (settlement.outcome.outcome, settlement.outcome.pairs) == ("discarded", 0)


@pytest.mark.parametrize("settled_by", ["finished", "timeout"])
def test_outcome_counts_all_that_was_seen(settled_by: Any) -> None:
    events = a_run(
        {
            "s-1": [("a", IDLE), ("b", ok(1.0)), ("c", VOID), ("d", VOID_SUCCESS)],
            "s-2": [("e", ok(2.0)), ("f", BROKEN)],
            "s-3": [],
        }
    )
    events[0] |= {"agent_id": "cleaner-7", "task_id": "t-1", "policy_id": "base"}
    outcome = settled(events, settled_by=settled_by).outcome

    assert msgspec.to_builtins(outcome) == {
        "run_id": "r-1",
        "outcome": "paired",
        "reason": None,
        "strategies": 3,
        "attempts": 6,
        "successes": 2,
        "void": 2,
        "pairs": 2,
        "scored_rows": 4,
        "settled_by": settled_by,
        "agent_id": "cleaner-7",
        "task_id": "t-1",
        "policy_id": "base",
    }
