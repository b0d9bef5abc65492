"""Contract, section 4.2: which pairs a run gives that has both kinds, or worked first time."""

import pytest

from schemas.rows import pair_id
from tests.streams.histories import (
    BROKEN,
    CRASHED,
    IDLE,
    VOID,
    VOID_SUCCESS,
    ok,
    settled,
)
from tests.streams.tables import (
    Attempts,
    Expected,
    a_run,
    all_pairs,
    as_expected,
    first_time,
)

PAIRED: dict[str, tuple[dict[str, Attempts], list[Expected]]] = {
    "worked first time": ({"s-1": [("a", ok(2.0))]}, first_time("s-1", "a", 1, 2.0)),
    "every attempt of a strategy is a success: the best code": (
        {"s-1": [("a", ok(2.0)), ("b", ok(3.0)), ("c", ok(3.0))]},
        first_time("s-1", "b", 2, 3.0),
    ),
    "each strategy that worked first time": (
        {"s-1": [("a", ok(2.0))], "s-2": [("b", ok(1.0))]},
        first_time("s-1", "a", 1, 2.0) + first_time("s-2", "b", 1, 1.0),
    ),
    "a void attempt spoils no first time": (
        {"s-1": [("a", VOID), ("b", ok(2.0))]},
        first_time("s-1", "b", 2, 2.0),
    ),
    "a strategy without attempts spoils no first time": (
        {"s-1": [("a", ok(2.0))], "s-2": []},
        first_time("s-1", "a", 1, 2.0),
    ),
    "a success after a failure": (
        {"s-1": [("a", BROKEN), ("b", ok(2.0))]},
        [("s-1", "mixed_code", "b", "a", 2, 1, 2.0, 0.0)],
    ),
    "a failure after the success counts as well": (
        {"s-1": [("a", ok(2.0)), ("b", IDLE)]},
        [("s-1", "mixed_code", "a", "b", 1, 2, 2.0, 0.0)],
    ),
    "each failure against the best score": (
        {"s-1": [("a", BROKEN), ("b", ok(1.0)), ("c", CRASHED), ("d", ok(5.0)), ("e", IDLE)]},
        [
            ("s-1", "mixed_code", "d", "a", 4, 1, 5.0, 0.0),
            ("s-1", "mixed_code", "d", "c", 4, 3, 5.0, 0.0),
            ("s-1", "mixed_code", "d", "e", 4, 5, 5.0, 0.0),
        ],
    ),
    "ties go to the earliest attempt": (
        {"s-1": [("a", IDLE), ("b", ok(2.0)), ("c", ok(2.0))]},
        [("s-1", "mixed_code", "b", "a", 2, 1, 2.0, 0.0)],
    ),
    "the same failed text twice is one pair, of the earliest": (
        {"s-1": [("a", BROKEN), ("b", ok(2.0)), ("a", IDLE), ("c", IDLE), ("c", BROKEN)]},
        [
            ("s-1", "mixed_code", "b", "a", 2, 1, 2.0, 0.0),
            ("s-1", "mixed_code", "b", "c", 2, 4, 2.0, 0.0),
        ],
    ),
    "a failure with the chosen text is no pair": (
        {"s-1": [("a", IDLE), ("a", ok(2.0)), ("b", IDLE)]},
        [("s-1", "mixed_code", "a", "b", 2, 3, 2.0, 0.0)],
    ),
    "a failure with the text of a lesser success is a pair": (
        {"s-1": [("a", IDLE), ("a", ok(1.0)), ("b", ok(2.0))]},
        [("s-1", "mixed_code", "b", "a", 3, 1, 2.0, 0.0)],
    ),
    "void attempts are on no side": (
        {"s-1": [("a", VOID), ("b", ok(2.0)), ("c", VOID_SUCCESS), ("d", BROKEN)]},
        [("s-1", "mixed_code", "b", "d", 2, 4, 2.0, 0.0)],
    ),
    "strategies are never mixed": (
        {
            "s-1": [("a", BROKEN), ("b", ok(1.0))],
            "s-2": [("c", BROKEN)],
            "s-3": [("d", ok(9.0))],
        },
        [("s-1", "mixed_code", "b", "a", 2, 1, 1.0, 0.0)],
    ),
    "the same text fails in two strategies": (
        {"s-1": [("a", IDLE), ("b", ok(1.0))], "s-2": [("a", IDLE), ("b", ok(1.0))]},
        [
            ("s-1", "mixed_code", "b", "a", 2, 1, 1.0, 0.0),
            ("s-2", "mixed_code", "b", "a", 2, 1, 1.0, 0.0),
        ],
    ),
    "an empty code is a code": (
        {"s-1": [("", BROKEN), ("a", ok(1.0))]},
        [("s-1", "mixed_code", "a", "", 2, 1, 1.0, 0.0)],
    ),
}


@pytest.mark.parametrize(("strategies", "expected"), PAIRED.values(), ids=PAIRED.keys())
def test_run_gives_the_pairs_of_the_pairing_table(
    strategies: dict[str, Attempts], expected: list[Expected]
) -> None:
    settlement = settled(a_run(strategies))

    assert (settlement.outcome.outcome, settlement.outcome.reason) == ("paired", None)
    assert sorted(map(as_expected, all_pairs(settlement)), key=repr) == sorted(expected, key=repr)
    assert settlement.outcome.pairs == len(expected)


def test_first_time_pairs_wait_for_the_garbling_of_the_right_response() -> None:
    settlement = settled(a_run({"s-1": [("a", ok(1.0))]}))

    assert settlement.pairs == []
    assert [(r.response, r.pair.rule) for r in settlement.garble_requests] == [
        ("strategy", "first_time_strategy"),
        ("code", "first_time_code"),
    ]


def test_pair_says_whose_it_is_and_has_the_contracts_id() -> None:
    events = a_run({"s-1": [("a", IDLE), ("b", ok(1.0))]})
    events[0] |= {"agent_id": "cleaner-7", "task_id": "t-1", "policy_id": "base"}
    [pair] = settled(events).pairs

    assert pair.pair_id == pair_id("r-1", "s-1", "mixed_code", 2, 1)
    assert pair.garbler is None
    assert (pair.run_id, pair.agent_id, pair.task_id, pair.policy_id) == (
        "r-1",
        "cleaner-7",
        "t-1",
        "base",
    )
