"""Contract, section 4.2: what the setting `pairing.extended` adds, and the prompts of pairs."""

import msgspec
import pytest

from tests.streams.histories import (
    BROKEN,
    CRASHED,
    IDLE,
    VOID,
    JsonEvent,
    full,
    ok,
    prompts,
    settled,
)
from tests.streams.tables import (
    CONTRAST,
    Attempts,
    Expected,
    a_run,
    all_pairs,
    as_expected,
    first_time,
)

EXTENDED: dict[str, tuple[dict[str, Attempts], list[Expected]]] = {
    "first-time runs give what they always give": (
        {"s-1": [("a", ok(2.0))]},
        first_time("s-1", "a", 1, 2.0),
    ),
    "the best strategy against each that failed, and its own first time": (
        {
            "s-1": [("a", BROKEN), ("b", IDLE)],
            "s-2": [("c", ok(2.0))],
            "s-3": [("d", CRASHED)],
        },
        [
            ("s-1", CONTRAST, "plan s-2", "plan s-1", 1, 1, 2.0, 0.0),
            ("s-3", CONTRAST, "plan s-2", "plan s-3", 1, 1, 2.0, 0.0),
            *first_time("s-2", "c", 1, 2.0),
        ],
    ),
    "added to mixed_code": (
        {"s-1": [("a", BROKEN), ("b", ok(1.0))], "s-2": [("c", VOID), ("d", IDLE)]},
        [
            ("s-1", "mixed_code", "b", "a", 2, 1, 1.0, 0.0),
            ("s-2", CONTRAST, "plan s-1", "plan s-2", 2, 2, 1.0, 0.0),
        ],
    ),
    "the best of several, ties to the earliest attempt": (
        {
            "s-1": [("a", IDLE), ("b", ok(5.0))],
            "s-2": [("c", ok(5.0)), ("d", ok(1.0))],
            "s-3": [("e", IDLE)],
        },
        [
            ("s-1", "mixed_code", "b", "a", 2, 1, 5.0, 0.0),
            ("s-3", CONTRAST, "plan s-2", "plan s-3", 1, 1, 5.0, 0.0),
            *first_time("s-2", "c", 1, 5.0),
        ],
    ),
    "a strategy that was never tried has not failed": (
        {"s-1": [("a", IDLE), ("b", ok(1.0))], "s-2": [], "s-3": [("c", VOID)]},
        [("s-1", "mixed_code", "b", "a", 2, 1, 1.0, 0.0)],
    ),
}


@pytest.mark.parametrize(("strategies", "expected"), EXTENDED.values(), ids=EXTENDED.keys())
def test_extended_rules_add_pairs(
    strategies: dict[str, Attempts], expected: list[Expected]
) -> None:
    settlement = settled(a_run(strategies), extended=True)

    assert settlement.outcome.outcome == "paired"
    assert sorted(map(as_expected, all_pairs(settlement)), key=repr) == sorted(expected, key=repr)
    assert settlement.outcome.pairs == len(expected)


@pytest.mark.parametrize(
    ("of_winner", "of_loser", "contrasts"),
    [
        ({}, {}, 1),
        ({}, {"prompts": prompts("run")}, 1),
        ({"prompts": prompts("own")}, {"prompts": prompts("own")}, 1),
        ({}, {"prompts": prompts("own")}, 0),
        ({"prompts": prompts("own")}, {}, 0),
        ({"strategy": "the same"}, {"strategy": "the same"}, 0),
    ],
)
def test_strategies_are_contrasted_under_the_same_prompt_only(
    of_winner: JsonEvent, of_loser: JsonEvent, contrasts: int
) -> None:
    events = a_run({"s-1": [("a", ok(1.0))], "s-2": [("b", IDLE)]}, s_1=of_winner, s_2=of_loser)
    pairs = [pair for pair in settled(events, extended=True).pairs if pair.rule == CONTRAST]

    assert len(pairs) == contrasts
    mark = "own" if "prompts" in of_winner else "run"
    assert all(msgspec.to_builtins(pair.prompt) == full(mark) for pair in pairs)


@pytest.mark.parametrize("extended", [False, True])
def test_pairs_carry_the_prompt_that_both_sides_answer(extended: bool) -> None:
    plan = [{"role": "user", "content": "plan s-1"}]
    expected = {
        "first_time_strategy": full("own"),
        "first_time_code": plan,
        "mixed_code": plan,
        CONTRAST: full("own"),
    }
    own = {"prompts": prompts("own")}
    for strategies in (
        {"s-1": [("a", ok(1.0))]},
        {"s-1": [("a", IDLE), ("b", ok(1.0))]},
        {"s-1": [("a", ok(1.0))], "s-2": [("b", IDLE)]},
    ):
        settlement = settled(a_run(strategies, s_1=own, s_2=own), extended=extended)
        for pair in all_pairs(settlement):
            assert msgspec.to_builtins(pair.prompt) == expected[pair.rule]
            assert {message.role for message in pair.chosen + pair.rejected} == {"assistant"}
