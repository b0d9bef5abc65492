"""What a replay folds against what a worker folds: the same pairs, from every log."""

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rows import GarbleRequest
from schemas.topics import PAIRS
from streams.pairs_only import PairsOnly
from streams.partition import EVENT_BYTES, Partition
from tests.streams.histories import (
    IDLE,
    Record,
    attempted,
    finished,
    logs,
    ok,
    proposed,
    started,
    to_log,
)

EXAMPLES = settings(max_examples=300, deadline=None, derandomize=True, database=None)


def given_by(runs: Partition, log: list[Record]) -> tuple[list[bytes], list[GarbleRequest]]:
    effects = runs.apply([record.parts for record in log], now_ms=0)
    requests = [each for done in effects.settlements for each in done.garble_requests]
    return [value for topic, _, value in effects.rows if topic is PAIRS], requests


@EXAMPLES
@given(logs(), st.booleans(), st.integers(0, 80))
def test_every_log_gives_the_same_pairs(log: list[Record], extended: bool, limit: int) -> None:
    largest = (limit or 10_000) * EVENT_BYTES // 4
    whole = Partition(extended=extended, run_max_bytes=largest)
    alone = PairsOnly(extended=extended, run_max_bytes=largest)

    assert given_by(alone, log) == given_by(whole, log)


def test_only_pairs_are_made_where_all_rows_surely_fit() -> None:
    run = [started(), proposed(), attempted(1, "a", IDLE), attempted(2, "b", ok(2.0)), finished()]
    records = [record.parts for record in to_log(run)]

    effects = PairsOnly(extended=False).apply(records, now_ms=0)

    assert [topic for topic, _, _ in effects.rows] == [PAIRS]
    assert [done.scored_rows for done in effects.settlements] == [[]]


def test_rows_that_would_be_too_large_discard_the_run_here_too() -> None:
    """Many failures, each paired with one long code: few events, and far larger rows."""
    tried = [attempted(number, f"x = {number}", IDLE) for number in range(1, 30)]
    run = [started(), proposed(), *tried, attempted(30, "y" * 40_000, ok(1.0)), finished()]
    log = to_log(run)

    for limit, pairs in ((2**20, 0), (2**21, 29)):
        runs = PairsOnly(extended=False, run_max_bytes=limit)
        found, _ = given_by(runs, log)
        assert len(found) == pairs
