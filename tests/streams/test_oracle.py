"""The product and a second implementation of the contract's section 4 give the same rows."""

import json
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.rows import encode
from streams.pairing import Settlement, settle
from tests.streams import oracle
from tests.streams.histories import (
    MODEST,
    JsonEvent,
    conflicting,
    distinct_events,
    fold,
    settled,
)


def as_json(settlement: Settlement) -> dict[str, Any]:
    pairs = settlement.pairs + [request.pair for request in settlement.garble_requests]
    return {
        "outcome": json.loads(encode(settlement.outcome)),
        "scored_rows": _by_id([json.loads(encode(row)) for row in settlement.scored_rows]),
        "pairs": _by_id([json.loads(encode(pair)) for pair in pairs]),
    }


def expected(events: list[JsonEvent], *, run_id: str, extended: bool) -> dict[str, Any]:
    rows = oracle.settle(run_id, events, settled_by="finished", extended=extended)
    return {
        name: _by_id(value) if value is not rows["outcome"] else value
        for name, value in rows.items()
    }


def _by_id(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: str(row.get("pair_id") or row["row_id"]))


@MODEST
@given(st.data(), st.booleans())
def test_settlement_is_what_the_contract_says(data: st.DataObject, extended: bool) -> None:
    events = data.draw(st.permutations(data.draw(distinct_events())))
    if events:
        events = [*events, conflicting(data.draw(st.sampled_from(events)))]

    assert as_json(settled(events, extended=extended)) == expected(
        events, run_id="r-1", extended=extended
    )


@pytest.fixture(scope="module")
def runs(recorded_runs: Path) -> dict[str, list[JsonEvent]]:
    lines = map(json.loads, recorded_runs.read_text().splitlines())
    events = sorted(
        (event for event in lines if event["type"] != "run.finished"),
        key=lambda event: event["run_id"],
    )
    return {run_id: list(group) for run_id, group in groupby(events, lambda e: e["run_id"])}


@pytest.mark.parametrize("extended", [False, True])
def test_recorded_runs_settle_as_the_contract_says(
    runs: dict[str, list[JsonEvent]], extended: bool
) -> None:
    for run_id, events in runs.items():
        settlement = settle(fold(events, run_id=run_id), "finished", extended=extended)

        assert as_json(settlement) == expected(events, run_id=run_id, extended=extended)


def test_recorded_runs_give_the_known_counts(runs: dict[str, list[JsonEvent]]) -> None:
    settlements = [
        settle(fold(events, run_id=run_id), "finished", extended=False)
        for run_id, events in runs.items()
    ]
    outcomes = Counter((s.outcome.outcome, s.outcome.reason) for s in settlements)

    assert outcomes == {("paired", None): 157, ("discarded", "never_succeeded"): 7}
    assert sum(len(s.scored_rows) for s in settlements) == 862
    assert sum(s.outcome.pairs for s in settlements) == 209
    assert sum(len(s.pairs) + len(s.garble_requests) for s in settlements) == 209
    # 23 runs worked first time, with one strategy each.
    assert Counter(r.pair.rule for s in settlements for r in s.garble_requests) == {
        "first_time_strategy": 23,
        "first_time_code": 23,
    }
