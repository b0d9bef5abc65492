"""Whatever agents send ends in rows or in a dead letter, and both implementations say in which.

The same inputs every time. To search further, at random and with what fails made smaller:
`FUZZ_LOGS=5000 python -m pytest tests/fuzz/test_inputs.py` tries so many logs of each class, and
`--hypothesis-seed=N` repeats what a search has found.
"""

import json
import os
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from pairstream.verify.expected import Json, settle
from pairstream.verify.log import REFUSED, EventRecord, PartitionLog, Settled
from schemas.events import INVALID_EVENT, RunExpired, RunFinished, parse_event
from schemas.topics import Topic
from streams.pairing import Settlement
from streams.partition import RUN_SETTLED, Effects, Partition
from streams.runs import (
    CONFLICTING_ATTEMPT,
    CONFLICTING_START,
    CONFLICTING_STRATEGY,
    event_digest,
)
from streams.state import event_key
from tests.fuzz.logs import INPUTS_A_LOG, Input, Log, logs
from tests.fuzz.values import CLASSES
from tests.streams.histories import Record

pytestmark = pytest.mark.long

# More than the 10,000 promised, so that a class with an open defect can be spared.
INPUTS_IN_ALL = 11_000
INPUTS_OF_A_CLASS = -(-INPUTS_IN_ALL // len(CLASSES))
# Some inputs come twice.
LOGS_OF_A_CLASS = INPUTS_OF_A_CLASS * 7 // 4 // INPUTS_A_LOG

SEARCH = os.environ.get("FUZZ_LOGS")
SETTINGS = settings(
    max_examples=int(SEARCH or LOGS_OF_A_CLASS),
    derandomize=SEARCH is None,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=(Phase.generate, Phase.shrink) if SEARCH else (Phase.generate,),
)
# The second implementation is made for clearness, not for speed.
COMPARED = settings(SETTINGS, max_examples=int(SEARCH or LOGS_OF_A_CLASS // 2))

CONFLICTS = {CONFLICTING_ATTEMPT, CONFLICTING_STRATEGY, CONFLICTING_START}
REASONS = {INVALID_EVENT, RUN_SETTLED, *CONFLICTS}


# --- One implementation --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLASSES)
def test_every_input_ends_in_rows_or_in_a_dead_letter(kind: str) -> None:
    inputs: set[Input] = set()

    def check(log: Log) -> None:
        inputs.update(log.inputs)
        effects = one_by_one(log.records)
        assert_all_accounted_for(log.records, effects)
        whole = Partition(extended=True).apply([r.parts for r in log.records], now_ms=0)
        assert [place for place, _ in whole.refused] == refused_places(effects)
        assert whole.rows == [row for each in effects for row in each.rows]
        for topic, _, value in whole.rows:
            assert_reads_again(topic, value)
        assert_refused_change_nothing_else(log.records, whole)

    SETTINGS(given(logs(CLASSES[kind]))(check))()
    assert len(inputs) >= INPUTS_OF_A_CLASS


def one_by_one(log: Sequence[Record]) -> list[Effects]:
    runs = Partition(extended=True)
    return [runs.apply([record.parts], now_ms=0) for record in log]


def refused_places(effects: Sequence[Effects]) -> list[int]:
    return [place for place, each in enumerate(effects) if each.refused]


def assert_all_accounted_for(log: Sequence[Record], effects: Sequence[Effects]) -> None:
    """Each is refused for a reason, skipped, new in its run's state, its end, or said before."""
    said: set[tuple[str, bytes]] = set()
    for record, each in zip(log, effects, strict=True):
        assert len(each.refused) + each.skipped + bool(each.rows) <= 1
        for place, refusal in each.refused:
            assert place == 0
            assert refusal.reason in REASONS
            assert str(refusal).encode()
            if refusal.reason == INVALID_EVENT:
                assert not each.writes
        if not each.skipped and not any(r.reason == INVALID_EVENT for _, r in each.refused):
            assert_is_known(record, each, said)


def assert_is_known(record: Record, each: Effects, said: set[tuple[str, bytes]]) -> None:
    event = parse_event(record.value)
    assert event is not None
    if isinstance(event, RunExpired):
        return
    place = (event.run_id, event_digest(event))
    if not each.rows and not each.refused and place not in said:
        assert not isinstance(event, RunFinished)
        assert each.writes == {event_key(event.run_id, record.offset): record.value}
    said.add(place)


def assert_reads_again(topic: Topic, value: bytes) -> None:
    [kind] = topic.values
    row = msgspec.json.decode(value, type=kind)
    assert msgspec.json.encode(row) == value
    assert msgspec.to_builtins(row) == json.loads(value)


def assert_refused_change_nothing_else(log: Sequence[Record], whole: Effects) -> None:
    """Of a conflict the run itself may know: it counts for the run's expiry."""
    refused = {place: error.reason for place, error in whole.refused}
    rest = [record.parts for place, record in enumerate(log) if place not in refused]
    without = Partition(extended=True).apply(rest, now_ms=0)
    own = {log[place].key for place, reason in refused.items() if reason in CONFLICTS}

    assert without.skipped == whole.skipped
    assert [r for r in without.rows if r[1] not in own] == [
        r for r in whole.rows if r[1] not in own
    ]


# --- Two implementations -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLASSES)
def test_both_implementations_refuse_the_same_and_give_the_same_rows(kind: str) -> None:
    def check(log: Log) -> None:
        assert_implementations_agree(log.records)

    COMPARED(given(logs(CLASSES[kind]))(check))()


def assert_implementations_agree(log: Sequence[Record]) -> None:
    effects = Partition(extended=True).apply([record.parts for record in log], now_ms=0)
    settled: list[Settled] = []
    second = PartitionLog(is_complete=True, on_settled=settled.append)
    verdicts = [second.take(EventRecord(*record.parts, 0))[0] for record in log]

    reasons = {place: error.reason for place, error in effects.refused}
    assert reasons == {p: verdict for p, verdict in enumerate(verdicts) if verdict in REFUSED}
    assert effects.skipped == verdicts.count("unknown_type")
    assert [rows_of(settlement) for settlement in effects.settlements] == [
        in_order(settle(run.run_id, run.events, settled_by=run.settled_by, extended=True))
        for run in settled
    ]


def rows_of(settlement: Settlement) -> Json:
    pairs = [*settlement.pairs, *(request.pair for request in settlement.garble_requests)]
    rows = {
        "outcome": settlement.outcome, "scored_rows": settlement.scored_rows, "pairs": pairs,
    }  # fmt: skip
    return in_order(msgspec.to_builtins(rows))


def in_order(rows: Json) -> Json:
    return {
        "outcome": rows["outcome"],
        "scored_rows": sorted(rows["scored_rows"], key=lambda row: row["row_id"]),
        "pairs": sorted(rows["pairs"], key=lambda row: row["pair_id"]),
    }
