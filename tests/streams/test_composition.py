"""Contract, section 4.1, line by line: which scored rows each strategy yields."""

import json
from typing import Any

import pytest

from schemas.rows import encode, hashed_id
from tests.streams.histories import (
    BROKEN,
    CRASHED,
    IDLE,
    VOID,
    VOID_SUCCESS,
    JsonEvent,
    attempted,
    full,
    ok,
    prompts,
    proposed,
    settled,
    started,
)

# kind, attempt, prompt, response, score
Row = tuple[str, int | None, Any, str, float]

FULL = full("run")
PLAN = [{"role": "user", "content": "plan s-1"}]
GETTERS = [{"role": "user", "content": "get()"}]


def rows_of(events: list[JsonEvent], strategy_id: str = "s-1") -> list[Row]:
    rows = [json.loads(encode(row)) for row in settled(events).scored_rows]
    assert all(len(row["response"]) == 1 for row in rows)
    assert all(row["response"][0]["role"] == "assistant" for row in rows)
    return [
        (row["kind"], row["attempt"], row["prompt"], row["response"][0]["content"], row["score"])
        for row in rows
        if row["strategy_id"] == strategy_id
    ]


# code, what happened; attempts are numbered from 1
CASES: dict[str, tuple[list[tuple[str, JsonEvent]], list[Row]]] = {
    "one attempt ran without effect": (
        [("a", IDLE)],
        [("strategy_without_effect", None, FULL, "plan s-1", 0)],
    ),
    "one of two ran, without effect": (
        [("a", BROKEN), ("b", IDLE)],
        [("strategy_without_effect", None, FULL, "plan s-1", 0)],
    ),
    "two ran without effect, and it is one row": (
        [("a", IDLE), ("b", IDLE)],
        [("strategy_without_effect", None, FULL, "plan s-1", 0)],
    ),
    "nothing compiled": (
        [("a", BROKEN)],
        [("strategy_not_runnable", None, GETTERS, "plan s-1", 0)],
    ),
    "compiled and did not run is not runnable": (
        [("a", CRASHED), ("b", BROKEN)],
        [("strategy_not_runnable", None, GETTERS, "plan s-1", 0)],
    ),
    "one success": (
        [("a", ok(2.5))],
        [
            ("code_success", 1, PLAN, "a", 2.5),
            ("strategy_success", 1, FULL, "plan s-1", 2.5),
        ],
    ),
    "each success is a row, and the strategy has the best score": (
        [("a", ok(1.0)), ("b", IDLE), ("c", ok(7.25)), ("d", ok(2.0))],
        [
            ("code_success", 1, PLAN, "a", 1.0),
            ("code_success", 3, PLAN, "c", 7.25),
            ("code_success", 4, PLAN, "d", 2.0),
            ("strategy_success", 3, FULL, "plan s-1", 7.25),
        ],
    ),
    "of equal scores the earliest attempt proves the strategy": (
        [("a", BROKEN), ("b", ok(3.0)), ("c", ok(3.0))],
        [
            ("code_success", 2, PLAN, "b", 3.0),
            ("code_success", 3, PLAN, "c", 3.0),
            ("strategy_success", 2, FULL, "plan s-1", 3.0),
        ],
    ),
    "two successes with the same text are two rows": (
        [("a", ok(1.0)), ("a", ok(2.0))],
        [
            ("code_success", 1, PLAN, "a", 1.0),
            ("code_success", 2, PLAN, "a", 2.0),
            ("strategy_success", 2, FULL, "plan s-1", 2.0),
        ],
    ),
    "void attempts alone give nothing": ([("a", VOID), ("b", VOID_SUCCESS)], []),
    "a void success is no success": (
        [("a", VOID_SUCCESS), ("b", IDLE)],
        [("strategy_without_effect", None, FULL, "plan s-1", 0)],
    ),
    "a void run makes nothing runnable": (
        [("a", VOID_SUCCESS), ("b", BROKEN)],
        [("strategy_not_runnable", None, GETTERS, "plan s-1", 0)],
    ),
    "no attempt gives nothing": ([], []),
}


@pytest.mark.parametrize(("attempts", "expected"), CASES.values(), ids=CASES.keys())
def test_strategy_yields_the_rows_of_the_composition_table(
    attempts: list[tuple[str, JsonEvent]], expected: list[Row]
) -> None:
    events = [started(), proposed()]
    events += [attempted(n, code, what) for n, (code, what) in enumerate(attempts, 1)]

    assert rows_of(events) == expected


@pytest.mark.parametrize(
    ("of_run", "of_strategy", "prompt"),
    [
        (["one()", "two()"], None, "one()\n\ntwo()"),
        (["one()"], ["own()", "more()"], "own()\n\nmore()"),
        (None, ["own()"], "own()"),
        ([], ["own()"], "own()"),
        ([], None, None),
        (None, None, None),
        (["one()"], [], None),
    ],
)
def test_getter_codes_are_the_prompt_of_what_was_not_runnable(
    of_run: list[str] | None, of_strategy: list[str] | None, prompt: str | None
) -> None:
    events = [
        started(new_sp_egc_s=of_run),
        proposed(new_sp_egc_s=of_strategy),
        attempted(1, "a", BROKEN),
    ]

    expected = [] if prompt is None else [[{"role": "user", "content": prompt}]]
    assert [row[2] for row in rows_of(events)] == expected
    assert settled(events).outcome.strategies == 1


def test_absent_getter_codes_are_no_prompt() -> None:
    start = started()
    del start["new_sp_egc_s"]

    assert rows_of([start, proposed(), attempted(1, "a", BROKEN)]) == []


def test_own_prompts_stand_for_their_strategy_alone() -> None:
    events = [
        started(),
        proposed("s-1", prompts=prompts("own")),
        proposed("s-2"),
        attempted(1, "a", IDLE, strategy_id="s-1"),
        attempted(1, "b", IDLE, strategy_id="s-2"),
    ]

    assert [row[2] for row in rows_of(events, "s-1")] == [full("own")]
    assert [row[2] for row in rows_of(events, "s-2")] == [FULL]


def test_full_prompt_joins_the_four_parts_in_the_contracts_order() -> None:
    parts = {
        "strat_code_req_plist": [{"role": "user", "content": "5"}],
        "special_egc_req_plist": [{"role": "assistant", "content": "4"}],
        "basic_env_plist": [],
        "system_plist": [{"role": name, "content": name} for name in ("1", "2", "3")],
    }
    [row] = rows_of([started(prompts=parts), proposed(), attempted(1, "a", IDLE)])

    assert [message["content"] for message in row[2]] == ["1", "2", "3", "4", "5"]
    assert [message["role"] for message in row[2]] == ["1", "2", "3", "assistant", "user"]


INCOMPLETE: dict[str, tuple[list[JsonEvent], list[str]]] = {
    "never started: what needs no prompt of the run is known": (
        [proposed(), attempted(1, "a", ok(1.0)), attempted(2, "b", BROKEN)],
        ["code_success"],
    ),
    "never started, but the strategy brings its own prompts": (
        [proposed(prompts=prompts("own")), attempted(1, "a", ok(1.0))],
        ["code_success", "strategy_success"],
    ),
    "never started, but the strategy brings its own getters": (
        [proposed(new_sp_egc_s=["own()"]), attempted(1, "a", BROKEN)],
        ["strategy_not_runnable"],
    ),
    "never proposed: there is no text to score": (
        [started(), attempted(1, "a", ok(1.0))],
        [],
    ),
    "another strategy's missing proposal takes no rows away": (
        [started(), proposed(), attempted(1, "a", IDLE), attempted(1, "b", IDLE, strategy_id="x")],
        ["strategy_without_effect"],
    ),
}


@pytest.mark.parametrize(("events", "kinds"), INCOMPLETE.values(), ids=INCOMPLETE.keys())
def test_incomplete_run_yields_rows_for_what_is_known(
    events: list[JsonEvent], kinds: list[str]
) -> None:
    settlement = settled(events)

    assert [row.kind for row in settlement.scored_rows] == kinds
    assert (settlement.outcome.outcome, settlement.outcome.reason) == ("discarded", "incomplete")
    assert settlement.outcome.scored_rows == len(kinds)
    assert not settlement.pairs
    assert not settlement.garble_requests


def test_scored_row_says_whose_it_is() -> None:
    start = started(agent_id="cleaner-7", task_id="t-1", policy_id="base")
    [row] = settled([start, proposed(), attempted(1, "a", IDLE)]).scored_rows

    assert row.row_id == hashed_id("r-1", "s-1", "strategy_without_effect", None)
    assert (row.run_id, row.agent_id, row.task_id, row.policy_id) == (
        "r-1",
        "cleaner-7",
        "t-1",
        "base",
    )
