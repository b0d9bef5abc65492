"""The second implementation of section 3 says of every record what the worker's fold says."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given

from pairstream.verify.events import NotAnEvent, read_event
from pairstream.verify.expected import settle
from pairstream.verify.log import REFUSED, EventRecord, PartitionLog, Settled
from schemas.errors import InvalidRecord
from schemas.events import parse_event
from schemas.rows import encode
from streams.partition import Partition
from tests.schemas.test_fuzz import VALUES
from tests.schemas.test_invalid_events import NOT_JSON, WRONG_SHAPE
from tests.schemas.wire import STARTED, VALID, encoded
from tests.streams.histories import MODEST, RULES, UNSHRUNK, Record, Rules, logs

NOW_MS = 0


def answers(value: bytes | None) -> tuple[Any, Any]:
    """What the worker's decoder and the second reader make of a value; refusals as `refused`."""
    try:
        event = parse_event(value)
        worker = event if event is None else msgspec.to_builtins(event)
    except InvalidRecord:
        worker = "refused"
    try:
        second = read_event(value)
    except NotAnEvent:
        second = "refused"
    return worker, second


def assert_same(value: bytes | None) -> None:
    worker, second = answers(value)
    if isinstance(worker, dict) and isinstance(second, dict):
        # The worker keeps a time as a moment, the second reader as it was written.
        worker, second = {**worker, "time": None}, {**second, "time": None}
    assert second == worker


@MODEST
@given(VALUES)
def test_both_readers_accept_and_refuse_the_same(value: bytes) -> None:
    assert_same(value)


@pytest.mark.parametrize("value", [*NOT_JSON.values(), *WRONG_SHAPE.values()])
def test_both_readers_refuse_what_is_no_event(value: bytes | None) -> None:
    assert_same(value)


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-23T10:00:00Z", "2026-11-23t10:00:00z", "2026-11-23T10:00:00.123456789+05:30",
        "2026-11-23T10:00:00", "2026-11-23", "2026-02-30T10:00:00Z", "2026-11-23T24:00:00Z",
        "2026-11-23T10:00:60Z", "2026-11-23T10:00Z", "2026-11-23T10:00:00+24:00",
        "0000-01-01T00:00:00Z",
        "2026-11-23T10:00:00.Z", "2026-11-23 10:00:00Z", "2026-11-23T10:00:00+0530", "x", "",
    ],
)  # fmt: skip
def test_both_readers_take_the_same_times(time: str) -> None:
    assert_same(json.dumps({**STARTED, "time": time}).encode())


@pytest.mark.parametrize("number", ["1.0", "1e0", "0", "-1", "true", "9007199254740992", "1e400"])
@pytest.mark.parametrize("name", ["attempt", "score", "events"])
def test_both_readers_take_the_same_numbers(name: str, number: str) -> None:
    for event in VALID:
        if name in event:
            text = json.dumps({**event, name: "@"}).replace('"@"', number)
            assert_same(text.encode())


def test_both_readers_take_every_valid_event() -> None:
    for event in VALID:
        worker, _ = answers(encoded(event))
        assert isinstance(worker, dict)
        assert_same(encoded(event))


@UNSHRUNK
@given(logs(), RULES)
def test_second_fold_refuses_and_settles_as_the_worker(log: list[Record], rules: Rules) -> None:
    effects = Partition(**rules).apply([r.parts for r in log], now_ms=NOW_MS)
    settled: list[Settled] = []
    second = PartitionLog(
        is_complete=True, on_settled=settled.append, run_max_bytes=rules["run_max_bytes"]
    )
    verdicts = [second.take(EventRecord(*record.parts, NOW_MS))[0] for record in log]

    assert {place: error.reason for place, error in effects.refused} == {
        place: verdict for place, verdict in enumerate(verdicts) if verdict in REFUSED
    }
    rows = [settle(run.run_id, run.events, settled_by=run.settled_by, **rules) for run in settled]
    assert [row["outcome"] for row in rows] == [
        json.loads(encode(settlement.outcome)) for settlement in effects.settlements
    ]


@UNSHRUNK
@given(logs())
def test_second_fold_keeps_of_open_runs_what_the_worker_writes_to_its_state(
    log: list[Record],
) -> None:
    runs = Partition(extended=False)
    writes = runs.apply([record.parts for record in log], now_ms=NOW_MS).writes
    second = PartitionLog(is_complete=True, on_settled=lambda _: None)
    for record in log:
        second.take(EventRecord(*record.parts, NOW_MS))

    assert {
        f"{run_id}\x00{offset}".encode(): value
        for run_id, run in second.open.items()
        for offset, value in run.kept
    } == {key: value for key, value in writes.items() if not key.endswith(b"\x00settled")}
