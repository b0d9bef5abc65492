"""What is written before what: rows, then state, then the offset; and nothing by a zombie."""

import asyncio
from types import SimpleNamespace
from typing import Any

import faust
import orjson
import pytest
from aiokafka.cluster import ClusterMetadata
from confluent_kafka import KafkaError
from faust.transport.drivers import aiokafka as driver

from schemas import clients
from streams import fence, redaction
from tests.faust.faust_producer import FaustProducer, writes_with
from tests.faust.memory import STOCK, Memory, World, in_loop
from tests.faust.worker import OPENS_A_RUN, REFUSED, Ended, Worker
from tests.streams.histories import IDLE, attempted, finished, proposed, started


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds


@in_loop
async def test_offset_is_committed_after_rows_and_state_are_written() -> None:
    async with World(STOCK, Memory([0])) as stock:
        rows = writes_with(stock, None)
        stream = stock.stream()

        async def agent() -> None:
            async for _event in stream.events():
                rows.send_soon(value=b"one")
                rows.send_soon(value=b"two")

        stock.run(agent())
        await stock.app.producer.buffer.start()
        await stock.start()
        await stock.acknowledged({0})
        assert await stock.committed() == 1
        assert stock.app.producer.buffer.size == 1  # And one in hand.

    async with Worker(Memory([0, 1], values=[OPENS_A_RUN, REFUSED]), batch_records=2) as worker:
        await worker.start_settling()
        await worker.sent(1)
        worker.memory.append([2])
        rows = await worker.sent(2)
        assert {record.topic for record in rows} == {worker.letters}
        assert await worker.committed() is None
        worker.producer.answer()
        state = (await worker.sent(3))[2:]
        assert {record.topic for record in state} == {worker.parts.names.state_changelog}
        assert await worker.committed() is None
        worker.producer.answer()
        await worker.acknowledged({1, 2})
        assert await worker.committed() == 3


@in_loop
async def test_offset_of_what_could_not_be_written_is_not_committed() -> None:
    async with World(STOCK, Memory([0])) as stock:
        rows = writes_with(stock, FaustProducer(error=ConnectionError("the broker refused it")))
        stream = stock.stream()
        sent = []
        # Faust keeps the error in another future too, which nobody can get at.
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)

        async def agent() -> None:
            async for _event in stream.events():
                sent.append(await rows.send(value=b"row"))

        stock.run(agent())
        await stock.start()
        await stock.acknowledged({0})
        assert await stock.committed() == 1
        assert isinstance(sent[0].exception(), ConnectionError)

    async with Worker(Memory([0])) as worker:
        await worker.start_settling()
        await worker.sent(1)
        with pytest.raises(Ended):
            worker.producer.answer(KafkaError(KafkaError._MSG_TIMED_OUT))
        assert worker.letters in worker.ends[0]
        assert await worker.committed() is None


@in_loop
async def test_resent_record_is_not_written_twice() -> None:
    async with World(STOCK, Memory([])) as stock:
        assert stock.app.producer._settings_extra() == {}
    async with Worker(Memory([])) as worker:
        settings = clients.producer(worker.parts.settings)
        assert (settings["enable.idempotence"], settings["acks"]) == (True, "all")


@in_loop
async def test_transactions_that_leave_rows_out_are_not_relied_on() -> None:
    app = faust.App("app", broker="kafka://127.0.0.1:1", processing_guarantee="exactly_once")
    async with World(STOCK, Memory([]), app) as stock:
        thread: Any = driver.AIOKafkaConsumerThread(stock.consumer, loop=app.loop)
        # Metadata of what is consumed only, and the rows' topic is not.
        thread._consumer = SimpleNamespace(_client=SimpleNamespace(cluster=ClusterMetadata()))
        stock.consumer._thread = thread
        stock.consumer.transactions.producer = producer = FaustProducer()
        await stock.consumer.transactions.send("rows", b"key", b"row", None, None, None)
        assert (producer.sent, producer.transactions) == ([b"row"], [None])

    async with Worker(Memory([])) as worker:
        assert not worker.app.in_transaction
        assert worker.consumer.on_init_dependencies() == []


@in_loop
async def test_rows_of_an_unfinished_event_are_not_published_by_the_commit_before_it() -> None:
    app = faust.App("app", broker="kafka://127.0.0.1:1", stream_publish_on_commit=True)
    async with World(STOCK, Memory([7, 8], committed=7), app) as stock:
        producer = FaustProducer()
        rows = writes_with(stock, producer)
        await stock.start_collecting()
        finished, unfinished = await stock.given(2)
        for event in (finished, unfinished):
            event._attach(rows, None, b"row of %d" % event.message.offset)
        finished.ack()
        assert await stock.committed() == 8
        assert producer.sent == [b"row of 7", b"row of 8"]

    async with Worker(Memory([])) as worker:
        assert worker.app.conf.stream_publish_on_commit is False


@in_loop
async def test_zombie_that_wakes_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with World(STOCK, Memory([0])) as stock:
        producer, is_awake = FaustProducer(), asyncio.Event()
        rows = writes_with(stock, producer)
        stream = stock.stream()

        async def agent() -> None:
            async for _event in stream.events():
                await is_awake.wait()
                await rows.send(value=b"row")

        stock.run(agent())
        await stock.start()
        await stock.until(lambda: bool(stream.current_event))
        stock.app.consumer_generation_id += 1
        is_awake.set()
        await stock.acknowledged({0})
        assert producer.sent == [b"row"]

    clock = Clock()
    monkeypatch.setattr(fence, "time", clock)
    async with Worker(Memory([0]), session_timeout_seconds=15) as worker:
        settling = await worker.start_settling()
        await worker.sent(1)
        clock.seconds += 15
        worker.memory.append([1])
        assert "stood still" in await worker.ended(settling)
        assert len(worker.producer.sent) == 1


# Of several texts, each of which is redacted by itself; 15 s of session allow gaps of 7.5 s.
LONG_RUN = [
    orjson.dumps(event)
    for event in (started("r-1"), proposed(), attempted(1, "a", IDLE), finished())
]


@in_loop
@pytest.mark.parametrize(("seconds_a_text", "ends"), [(4, False), (8, True)])
async def test_a_worker_that_redacts_for_long_is_no_zombie(
    monkeypatch: pytest.MonkeyPatch, seconds_a_text: int, ends: bool
) -> None:
    clock = Clock()

    def slow(text: str, *_: object) -> str:
        clock.seconds += seconds_a_text
        return text

    monkeypatch.setattr(fence, "time", clock)
    monkeypatch.setattr(redaction, "redact", slow)
    memory = Memory([0, 1, 2, 3], values=LONG_RUN)
    options = {"session_timeout_seconds": 15, "redact": "secrets", "batch_records": 4}
    async with Worker(memory, **options) as worker:  # type: ignore[arg-type]
        settling = await worker.start_settling()
        if ends:
            assert "stood still for 8.0 s" in await worker.ended(settling)
            return
        await worker.sent(1)
        assert clock.seconds >= 1_000 + 8, "each beat was in time, all of them together were not"


@in_loop
async def test_state_of_a_partition_that_was_given_away_is_not_written() -> None:
    values = [OPENS_A_RUN, REFUSED]
    async with Worker(Memory([0, 1], values=values), batch_records=2) as worker:
        await worker.start_settling()
        await worker.sent(1)
        worker.app.consumer_generation_id += 1
        worker.producer.answer()
        worker.memory.append([2])
        await worker.sent(2)
        worker.producer.answer()
        await worker.acknowledged({2})

        assert {record.topic for record in worker.producer.sent} == {worker.letters}
        assert await worker.committed() is None


@in_loop
async def test_full_buffer_of_fausts_producer_holds_up_no_input() -> None:
    records = range(103)
    async with World(STOCK, Memory(records)) as stock:
        rows = writes_with(stock, None)
        stream = stock.stream()

        async def agent() -> None:
            async for _event in stream.events():
                rows.send_soon(value=b"row")

        stock.run(agent())
        await stock.app.producer.buffer.start()
        waits = _waits(stock)
        await stock.start()
        await stock.acknowledged(set(records))
        assert waits

    async with Worker(Memory(records), batches_in_flight=64) as worker:
        waits = _waits(worker)
        await worker.start_settling()
        while await worker.committed() != len(records):
            worker.producer.answer()
            await asyncio.sleep(0)
        assert not waits
        assert worker.app.producer.buffer.size == 0


def _waits(world: World) -> list[int]:
    """How much Faust waited to see written, each time that it waited before it took a record."""
    buffer = world.app.producer.buffer
    waits: list[int] = []
    flush = buffer.flush_atmost

    async def flush_atmost(messages: int | None) -> int:
        if messages is not None:
            waits.append(messages)
        flushed: int = await flush(messages)
        return flushed

    buffer.flush_atmost = flush_atmost
    return waits
