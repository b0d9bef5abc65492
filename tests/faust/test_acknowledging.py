"""What counts as done: only what was done, whatever happens to the agent that does it."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import faust.streams
import pytest

from schemas.errors import PairstreamError
from streams.self_check import check_installation
from tests.faust.memory import FAILED_SECONDS, OURS, PLACE, STOCK, Memory, World, in_loop
from tests.faust.worker import REFUSED, Worker


class Defect(Exception):
    """One that an agent has."""


async def fail_at_the_second(stream: Any) -> None:
    async for event in stream.events():
        if event.message.offset == 1:
            raise Defect


async def fail_at_a_batch(stream: Any) -> None:
    async for _values in stream.take(3, within=FAILED_SECONDS):
        raise Defect


async def await_an_answer(stream: Any) -> None:
    async for _event in stream.events():
        await asyncio.Event().wait()


async def stock_does(
    agent: Callable[[Any], Coroutine[Any, Any, None]], *, done: set[int], is_cancelled: bool = False
) -> None:
    """The agent fails, or is cancelled in the midst of an event; what is `done` is committed."""
    async with World(STOCK, Memory(range(3))) as world:
        stream = world.stream()
        task = world.run(agent(stream))
        await world.start()
        if is_cancelled:
            await world.until(lambda: bool(stream.current_event))
            task.cancel()
        await asyncio.wait([task])
        # As the agent's supervisor does before it starts another.
        await stream.stop()
        await world.acknowledged(done)
        assert await world.committed() == max(done) + 1


@in_loop
async def test_event_on_which_the_agent_fails_is_not_done() -> None:
    await stock_does(fail_at_the_second, done={0, 1})

    async with Worker(Memory(range(3))) as worker:
        worker.fail_at(1)
        settling = await worker.start_settling()
        assert "a defect in pairstream" in await worker.ended(settling)
        worker.producer.answer()
        await worker.acknowledged({0})
        assert await worker.committed() == 1


@in_loop
async def test_batch_on_which_the_agent_fails_is_not_done() -> None:
    await stock_does(fail_at_a_batch, done={0, 1, 2})

    async with Worker(Memory(range(3)), batch_records=3) as worker:
        worker.fail_at(1)
        settling = await worker.start_settling()
        assert "a defect in pairstream" in await worker.ended(settling)
        assert worker.producer.sent == []
        assert await worker.committed() is None


@in_loop
async def test_event_amid_which_the_agent_is_cancelled_is_done_only_when_finished() -> None:
    await stock_does(await_an_answer, done={0}, is_cancelled=True)

    async with Worker(Memory(range(3))) as worker:
        settling = await worker.start_settling()
        await worker.sent(3)
        settling.cancel()
        await asyncio.wait([settling])
        assert await worker.committed() is None

        worker.producer.answer()
        await worker.acknowledged({0, 1, 2})
        assert await worker.committed() == 3


@pytest.mark.parametrize("kind", [STOCK, OURS])
@pytest.mark.parametrize("is_compiled", [True, False])
@in_loop
async def test_events_of_an_old_generation_are_not_done_where_the_compiled_stream_skips_them(
    kind: str, is_compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faust.streams._CStreamIterator is not None
    if not is_compiled:
        monkeypatch.setattr(faust.streams, "_CStreamIterator", None)
    async with World(kind, Memory(range(3))) as world:
        stream = world.stream().noack()
        await world.start()
        await world.until(lambda: stream.channel.queue.qsize() == 3)
        world.app.consumer_generation_id += 1
        world.run(world.collect(stream))

        # This defect has no cure but the check at the start.
        assert await world.given_up_to(3) == [3]
        assert world.consumer._acked_index[PLACE] == (set() if is_compiled else {0, 1, 2})


def test_worker_refuses_a_faust_without_the_compiled_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_installation()
    monkeypatch.setitem(sys.modules, "faust._cython.streams", None)

    with pytest.raises(PairstreamError, match=r"faust\._cython\.streams"):
        check_installation()


@in_loop
async def test_record_that_cannot_be_decoded_is_done_when_its_dead_letter_is_written() -> None:
    async with World(STOCK, Memory([0], values=[REFUSED])) as stock:
        stock.run(stock.collect(stock.stream(value_type=dict, value_serializer="json")))
        await stock.start()
        await stock.acknowledged({0})
        assert await stock.committed() == 1
        assert stock.events == []

    async with Worker(Memory([0], values=[REFUSED])) as worker:
        await worker.start_settling()
        [letter] = await worker.sent(1)
        assert (letter.topic, letter.value) == (worker.letters, REFUSED)
        assert await worker.committed() is None
        worker.producer.answer()
        await worker.acknowledged({0})
        assert await worker.committed() == 1


@pytest.mark.parametrize("is_slow", [True, False])
@in_loop
async def test_a_slow_topics_batches_are_smaller_and_nothing_waits_for_them(is_slow: bool) -> None:
    async with World(OURS, Memory(range(5))) as world:
        world.consumer.batch_records = 5
        world.consumer.slow = {PLACE.topic: 2} if is_slow else {}
        await world.start_collecting()
        events = await world.given(3 if is_slow else 1)

        assert [len(event.value) for event in events] == ([2, 2, 1] if is_slow else [5])
        waited_for = {message.offset for message in world.consumer._unacked_messages}
        assert waited_for == (set() if is_slow else {4})
        events[0].ack()
        assert await world.committed() == (2 if is_slow else 5)
