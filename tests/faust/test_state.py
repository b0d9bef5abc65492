"""The state of runs after a restart: complete up to the log's end, or the worker does not start."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import faust
import pytest
from faust.tables.recovery import ServiceStopped
from faust.types import TP, Message

from schemas.errors import PairstreamError
from streams import table as table_module
from streams.changelog import State
from streams.table import RunTable
from tests.faust.memory import PLACE, STOCK, Memory, World, in_loop
from tests.faust.worker import OPENS_A_RUN, REFUSED, Ended, Worker

CHANGELOG = TP("app-runs-changelog", 0)
ELSEWHERE = TP("app-others-changelog", 0)


def stock_table(app: faust.App) -> Any:
    return app.Table("runs", key_type=str, value_type=str, partitions=1)


async def recovered(table: Any, *records: tuple[TP, bytes]) -> dict[str, str]:
    """What stock Faust believes to be the whole state after these records, at offsets from 0."""
    recovery = table.app.tables.recovery
    recovery.add_active(table, CHANGELOG)
    recovery.active_offsets[CHANGELOG] = -1
    recovery.active_highwaters[CHANGELOG] = len(records) - 1
    recovery._set_recovery_started()
    queue = table.app.tables.changelog_queue
    channel = table.changelog_topic.clone_using_queue(queue)
    for offset, (tp, value) in enumerate(records):
        key = b'"key %d"' % offset
        message = Message(tp.topic, tp.partition, offset, 1.0, 0, None, key, value, None, tp=tp)
        event = await channel.decode(message)
        if event is not None:
            queue.put_nowait(event)
    applying = asyncio.create_task(recovery._slurp_changelogs.fun(recovery))
    await recovery.signal_recovery_end.wait()
    applying.cancel()
    return dict(table.data.data)


def fail(error: Exception) -> Mapping[int, State]:
    raise error


@pytest.mark.parametrize(
    ("read_state", "why"),
    [
        (lambda _: fail(PairstreamError("the brokers are gone")), "the brokers are gone"),
        (lambda _: fail(ConnectionError("cut")), "could not be read: .*cut"),
        (lambda _: {0: {b"unknown": (REFUSED, 0)}}, "could not be read"),
    ],
    ids=["brokers gone", "defect", "unreadable record"],
)
@in_loop
async def test_state_that_cannot_be_read_whole_ends_the_worker(read_state: Any, why: str) -> None:
    async with World(STOCK, Memory([])) as stock:
        records = ((CHANGELOG, b'"first"'), (CHANGELOG, REFUSED), (CHANGELOG, b'"last"'))
        state = await recovered(stock_table(stock.app), *records)
        assert state == {"key 0": "first", "key 2": "last"}

    async with Worker(Memory([])) as worker:
        table = worker.parts.table
        table.runs = {}
        table.read_committed = lambda _: {0: 0}
        table.read_state = read_state
        with pytest.raises(Ended, match=why):
            await table.on_recovery_completed(set(), set())
        assert table.runs == {}


@in_loop
async def test_record_of_another_table_changes_nothing() -> None:
    async with World(STOCK, Memory([])) as stock:
        records = ((CHANGELOG, b'"ours"'), (ELSEWHERE, b'"of others"'), (CHANGELOG, b'"ours"'))
        state = await recovered(stock_table(stock.app), *records)
        assert state == {"key 0": "ours", "key 1": "of others", "key 2": "ours"}

    async with Worker(Memory([])) as worker:
        table = worker.parts.table
        table.apply_changelog_batch([worker.app.create_event(b"run", b"{}", None, None)])
        runs = table.runs[PLACE.partition]
        assert (dict(runs.open), dict(runs.settled)) == ({}, {})


@in_loop
async def test_what_no_log_has_is_forgotten_at_a_rebalance() -> None:
    async with World(STOCK, Memory([0])) as stock:
        table = stock_table(stock.app)
        stream = stock.stream()

        async def agent() -> None:
            async for _event in stream.events():
                table["run"] = "begun"  # Faust's producer, not started, writes it nowhere.

        stock.run(agent())
        await stock.start()
        await stock.acknowledged({0})
        await table.on_rebalance({CHANGELOG}, {CHANGELOG}, set(), 1)
        await table.on_recovery_completed({CHANGELOG}, set())
        assert dict(table.data.data) == {"run": "begun"}

    async with Worker(Memory([0], values=[OPENS_A_RUN])) as worker:
        await worker.start_settling()
        await worker.sent(1)
        table = worker.parts.table
        assert list(table.runs[PLACE.partition].open) == ["r-1"]
        await table.on_rebalance({PLACE}, {PLACE}, set(), 1)
        assert table.runs == {}


@pytest.mark.parametrize("overtaken", [False, True], ids=["never begun", "overtaken"])
@in_loop
async def test_partitions_that_nobody_takes_over_end_the_worker(
    monkeypatch: pytest.MonkeyPatch, overtaken: bool
) -> None:
    monkeypatch.setattr(table_module, "TAKEOVER_SECONDS", 0.0)
    monkeypatch.setattr(table_module, "LOOK_SECONDS", 0.0)

    async def looks(table: RunTable) -> None:
        watching = asyncio.create_task(table.watch())
        for _ in range(5):
            await asyncio.sleep(0)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching

    async with Worker(Memory([])) as worker:
        table = worker.parts.table
        table.read_committed = lambda _: {0: 0}
        table.read_state = lambda _: {}
        await table.on_rebalance(set(), {PLACE}, set(), 1)
        await looks(table)
        await table.on_rebalance({PLACE}, set(), {PLACE}, 2)
        if overtaken:
            table.describe_source = lambda: setattr(worker.app, "consumer_generation_id", 3) or b""
            await table.on_recovery_completed(set(), set())
        with pytest.raises(Ended, match="could not be taken over"):
            await looks(table)
        table.describe_source = lambda: b""
        await table.on_recovery_completed(set(), set())
        await looks(table)


@in_loop
async def test_recovery_does_not_wait_for_records_that_the_log_does_not_have() -> None:
    """The log's last offsets may be marks of transactions, or compacted away."""
    async with World(STOCK, Memory([])) as stock, Worker(Memory([])) as worker:
        for world, waits in ((stock, True), (worker, False)):
            recovery = world.app.tables.recovery
            recovery.active_highwaters[CHANGELOG] = 5
            recovery.active_offsets[CHANGELOG] = 3
            assert recovery.need_recovery() is waits


@in_loop
async def test_recovery_waits_for_the_brokers_however_long() -> None:
    answered = asyncio.Event()
    async with World(STOCK, Memory([])) as stock, Worker(Memory([])) as worker:
        with pytest.raises(ServiceStopped):
            await stock.app.tables.recovery._wait(answered.wait(), timeout=0.0)
        waiting = worker.run(worker.app.tables.recovery._wait(answered.wait(), timeout=0.0))
        await asyncio.wait({waiting}, timeout=0.05)
        assert not waiting.done()
        answered.set()
        await waiting
