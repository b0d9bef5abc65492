"""What bounds a worker: the size of a run, of its rows, of open runs; the rate of dead letters."""

import json

import msgspec
import pytest

from schemas.errors import PairstreamError
from schemas.settings import RUN_MAX_BYTES
from schemas.source import Source
from schemas.topics import MAX_ROW_BYTES
from streams.letter_rate import LetterRate
from streams.pairs_only import PairsOnly
from streams.partition import EVENT_BYTES, Effects, Partition
from streams.state import check_source
from tests.streams.histories import (
    IDLE,
    JsonEvent,
    Record,
    attempted,
    finished,
    ok,
    proposed,
    started,
    to_log,
)

WHOLE = [started(), proposed(), attempted(1, "a", IDLE), attempted(2, "b", ok(2.0))]
SIZE = sum(len(record.value or b"") + EVENT_BYTES for record in to_log(WHOLE))


def apply(runs: Partition, log: list[Record], *, now_ms: int = 0) -> Effects:
    return runs.apply([record.parts for record in log], now_ms=now_ms)


def outcomes(effects: Effects) -> list[dict[str, object]]:
    return [json.loads(value) for _, _, value in effects.rows if b'"settled_by"' in value]


def test_run_as_large_as_it_may_be_is_judged() -> None:
    runs = Partition(extended=False, run_max_bytes=SIZE)

    [outcome] = outcomes(apply(runs, to_log([*WHOLE, finished()])))

    assert outcome["outcome"] == "paired"


@pytest.mark.parametrize(
    ("code", "reason"), [(2_750_000, None), (2_770_000, "too_large"), (4_700_000, "too_large")]
)
@pytest.mark.parametrize("kind", [Partition, PairsOnly])
def test_run_is_discarded_where_its_garbled_pair_would_be_too_large(
    kind: type[Partition], code: int, reason: str | None
) -> None:
    """The request fits in each case; a garbled text may be twice as long as the good one."""
    run = [started(), proposed(), attempted(1, "x" * code, ok(1.0)), finished()]
    effects = apply(kind(extended=False), to_log(run))

    [settlement] = effects.settlements
    assert settlement.outcome.reason == reason
    assert bool(settlement.garble_requests) == (reason is None)


def test_run_is_discarded_by_the_event_that_makes_it_too_large() -> None:
    runs = Partition(extended=False, run_max_bytes=SIZE)

    effects = apply(runs, to_log([*WHOLE, attempted(3, "c", IDLE)]))

    [(_, _, row)] = effects.rows
    outcome = json.loads(row)
    assert (outcome["reason"], outcome["settled_by"]) == ("too_large", "limit")
    assert (outcome["attempts"], outcome["pairs"], outcome["scored_rows"]) == (3, 0, 0)
    assert runs.size == 0


def test_what_still_comes_of_a_run_that_was_too_large_is_ignored_also_after_a_restart() -> None:
    more = [attempted(4, "d", IDLE), started(policy_id="another"), finished()]
    log = to_log([*WHOLE, attempted(3, "c", IDLE), *more])
    runs = Partition(extended=False, run_max_bytes=SIZE)
    state = apply(runs, log[:5]).writes
    restarted = Partition(extended=False, run_max_bytes=SIZE)
    restarted.restore((key, value, 0) for key, value in state.items() if value is not None)

    for each in (runs, restarted):
        effects = apply(each, log[5:])
        assert (effects.rows, effects.refused, effects.ignored) == ([], [], len(more))


def test_the_same_event_again_does_not_make_a_run_larger() -> None:
    runs = Partition(extended=False, run_max_bytes=SIZE)

    effects = apply(runs, to_log([*WHOLE, *WHOLE, *WHOLE, finished()]))

    assert [outcome["outcome"] for outcome in outcomes(effects)] == ["paired"]


def test_a_conflict_counts_and_is_refused_all_the_same() -> None:
    runs = Partition(extended=False, run_max_bytes=SIZE)

    effects = apply(runs, to_log([*WHOLE, attempted(1, "other", IDLE)]))

    assert [error.reason for _, error in effects.refused] == ["conflicting_attempt"]
    assert [outcome["reason"] for outcome in outcomes(effects)] == ["too_large"]


def wide(strategies: int, prompt_bytes: int, strategy_bytes: int = 10) -> list[JsonEvent]:
    """A run whose rows are much larger than its events: its prompt stands in two for each."""
    prompts = started()["prompts"]
    prompts["system_plist"][0]["content"] = "x" * prompt_bytes
    events = [started(prompts=prompts)]
    for number in range(strategies):
        name = f"s-{number}"
        text = "y" * strategy_bytes
        events += [proposed(name, strategy=text), attempted(1, "a", ok(1.0), strategy_id=name)]
    return [*events, finished()]


@pytest.mark.parametrize(
    ("events", "most"),
    [
        (wide(20, 10_000), 100_000),
        (wide(1, MAX_ROW_BYTES // 2, MAX_ROW_BYTES // 2), RUN_MAX_BYTES),
    ],
    ids=["all rows", "one row"],
)
def test_run_whose_rows_would_be_too_large_gives_none(events: list[JsonEvent], most: int) -> None:
    effects = apply(Partition(extended=False, run_max_bytes=most), to_log(events))

    assert len(effects.rows) == 1
    [outcome] = outcomes(effects)
    assert (outcome["reason"], outcome["settled_by"]) == ("too_large", "finished")


def test_longest_silent_runs_go_first_when_all_are_too_large() -> None:
    runs = Partition(extended=False)
    for number in range(4):
        apply(runs, to_log([started(f"r-{number}")]), now_ms=number)
    each = runs.size // 4

    assert runs.silent(-1) == []
    assert runs.silent(-1, excess=1) == [("r-0", 1)]
    assert runs.silent(-1, excess=each + 1) == [("r-1", 1)]
    assert runs.silent(-1, excess=2 * each) == []


def test_size_is_that_of_the_open_runs_alone() -> None:
    runs = Partition(extended=False)
    state = apply(runs, to_log(WHOLE)).writes
    assert runs.size == SIZE

    restarted = Partition(extended=False)
    restarted.restore((key, value, 0) for key, value in state.items() if value is not None)
    assert restarted.size == SIZE

    for each in (runs, restarted):
        apply(each, to_log([*WHOLE, finished()])[4:])
        assert each.size == 0


def test_a_run_of_any_number_of_attempts_takes_no_more_than_it_may() -> None:
    runs = Partition(extended=False)
    log = to_log([started(), proposed(), *(attempted(n, "a", IDLE) for n in range(1, 100_001))])
    largest = ended = 0
    for start in range(0, len(log), 1000):
        effects = apply(runs, log[start : start + 1000])
        largest = max(largest, runs.size)
        ended += len(outcomes(effects))

    assert ended == 1
    assert RUN_MAX_BYTES / 2 < largest <= RUN_MAX_BYTES
    assert not runs.open


def test_rate_counts_the_letters_of_the_last_minute() -> None:
    rate = LetterRate(10)

    assert not rate.exceeds(6, now=0)
    assert not rate.exceeds(4, now=30)
    assert rate.exceeds(1, now=59)
    assert not rate.exceeds(0, now=59)
    assert not rate.exceeds(5, now=61)
    assert rate.exceeds(1, now=61)


THESE, OTHERS, WIDER = (
    msgspec.json.encode([Source("cluster", "events", topic_id, partitions)])
    for topic_id, partitions in (("one", 4), ("two", 4), ("one", 6))
)


@pytest.mark.parametrize(
    ("found", "committed", "problem"),
    [
        (None, 0, None),
        (THESE, 0, None),
        (THESE, 7, None),
        (None, 7, "lost.*--rebuild"),
        (OTHERS, 0, "made anew.*--rebuild"),
        (OTHERS, 7, "made anew.*--rebuild"),
        (WIDER, 7, "events got more partitions.*topics migrate"),
    ],
)
def test_state_must_be_there_and_of_the_same_topics(
    found: bytes | None, committed: int, problem: str | None
) -> None:
    if problem is None:
        check_source(THESE, found, committed)
    else:
        with pytest.raises(PairstreamError, match=problem):
            check_source(THESE, found, committed)
