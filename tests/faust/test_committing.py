"""Which offset is committed: never one behind which work is unfinished, never too little either."""

import asyncio

import pytest
from faust.types import TP

from streams.faust_app import BUFFERED_BATCHES
from tests.faust.memory import OURS, PLACE, STOCK, Memory, World, in_loop
from tests.faust.worker import Worker

ELSEWHERE = TP(PLACE.topic, 1)


@pytest.mark.parametrize("committed", [None, 10])
@pytest.mark.parametrize("kind", [STOCK, OURS])
@in_loop
async def test_commit_stops_before_a_head_that_is_unfinished(
    kind: str, committed: int | None
) -> None:
    first = committed or 0
    async with World(kind, Memory(range(first, first + 3), committed=committed)) as world:
        await world.start_collecting()
        _unfinished, second, third = await world.given(3)
        second.ack()
        third.ack()

        assert await world.committed() == (first + 3 if kind == STOCK else committed)


@pytest.mark.parametrize(("kind", "committed"), [(STOCK, 17), (OURS, 11)])
@in_loop
async def test_record_behind_a_hole_in_the_log_is_no_part_of_the_hole(
    kind: str, committed: int
) -> None:
    async with World(kind, Memory([10, 15, 16], committed=10)) as world:
        await world.start_collecting()
        before, _unfinished, last = await world.given(3)
        before.ack()
        last.ack()

        assert await world.committed() == committed


@pytest.mark.parametrize(
    ("kind", "committed", "redone"), [(STOCK, 100, [100, 101, 102, 103]), (OURS, 103, [103])]
)
@in_loop
async def test_what_is_finished_at_a_rebalance_is_committed_first(
    kind: str, committed: int, redone: list[int]
) -> None:
    async with World(kind, Memory([100, 101, 102], committed=100)) as world:
        await world.start_collecting()
        for event in await world.given(3):
            event.ack()
        await world.until(lambda: world.memory.is_waiting)
        await world.revoke()

        assert world.memory.group_offset == committed
        await world.assign()
        await world.go_on()
        assert await world.given_up_to(103) == redone


@pytest.mark.parametrize(("kind", "committed"), [(STOCK, None), (OURS, 3)])
@in_loop
async def test_commit_that_the_group_refused_is_not_taken_for_made(
    kind: str, committed: int | None
) -> None:
    async with World(kind, Memory(range(3))) as world:
        await world.start_collecting()
        events = await world.given(3)
        world.memory.refuses_commits = True
        revoking = world.run(world.revoke())
        await world.until(lambda: world.consumer._waiting_for_ack is not None)
        for event in events:
            event.ack()
        await revoking
        world.memory.refuses_commits = False

        await world.assign()
        await world.go_on()
        for event in await world.given(3):
            event.ack()

        assert await world.committed() == committed


@pytest.mark.parametrize(("kind", "given"), [(STOCK, [3]), (OURS, [0, 1, 2, 3])])
@in_loop
async def test_what_was_fetched_within_a_rebalance_is_fetched_again_where_nothing_is_committed(
    kind: str, given: list[int]
) -> None:
    async with World(kind, Memory([])) as world:
        await world.start_collecting()
        await world.until(lambda: world.memory.is_waiting)
        await world.revoke()
        world.memory.append(range(3))
        await world.assign()
        await world.until(lambda: bool(world.consumer.can_resume_flow._waiters))
        await world.go_on()

        assert await world.given_up_to(3) == given


@in_loop
async def test_positions_that_come_when_the_next_rebalance_has_begun_move_nothing() -> None:
    """They are of partitions that were ours; what it gives us is not taken for uncommitted."""
    async with World(OURS, Memory(range(4), committed=4)) as world:
        await world.start_collecting()
        memory = world.memory
        memory.assigned = {ELSEWHERE}
        memory.answers.clear()
        memory.is_asked.clear()
        late = world.run(world.go_on())
        await memory.is_asked.wait()
        await world.revoke()
        memory.assigned = {PLACE}
        await world.assign()
        memory.answers.set()
        await late
        await world.looked()
        await world.go_on()

        assert await world.given_up_to(4) == [4]


@pytest.mark.parametrize(("kind", "given"), [(STOCK, [4, 5, 6]), (OURS, [1, 2, 3, 4, 5, 6])])
@in_loop
async def test_fetch_that_spans_a_rebalance_hides_no_records(kind: str, given: list[int]) -> None:
    async with World(kind, Memory(range(4))) as world:
        await world.start_collecting()
        first, *_unfinished = await world.given(4)
        first.ack()
        assert await world.committed() == 1
        world.memory.held = held = asyncio.Event()
        world.memory.append([4, 5])
        await world.memory.is_taken.wait()
        world.memory.held = None
        # As when the wait for what is unfinished is over: another worker will do it.
        world.consumer._unacked_messages.clear()
        await world.revoke()
        await world.assign()
        await world.go_on()
        held.set()

        assert await world.given_up_to(6) == given
        for event in world.events:
            event.ack()
        await world.committed()  # Faust comes to the end in two steps.
        assert await world.committed() == 7


@pytest.mark.parametrize(("kind", "kept"), [(STOCK, 20), (OURS, 0)])
@in_loop
async def test_what_is_acknowledged_behind_an_unfinished_head_is_not_sorted_at_each_commit(
    kind: str, kept: int
) -> None:
    async with World(kind, Memory([7, *range(10, 30)], committed=7)) as world:
        await world.start_collecting()
        _unfinished, *rest = await world.given(21)
        for event in rest:
            event.ack()
        await world.committed()

        assert len(world.consumer._acked[PLACE]) == kept


@in_loop
async def test_what_is_unfinished_is_bounded_and_nothing_is_kept_of_what_is_finished() -> None:
    async with World(STOCK, Memory([])) as stock:
        topic = stock.app.topic("events", maxsize=BUFFERED_BATCHES)
        assert aiter(topic).queue.maxsize == stock.app.conf.stream_buffer_maxsize == 4096

    async with Worker(Memory(range(50)), batches_in_flight=4) as worker:
        await worker.start_settling()
        [channel] = worker.app.topics
        await worker.until(lambda: channel.queue.full() or worker.memory.is_waiting)
        await worker.sent(4)
        # Besides: one that waits for room in flight, and one for room in the buffer.
        handed_over = worker.consumer._handed_over[PLACE]
        assert len(handed_over) <= 4 + BUFFERED_BATCHES + 2
        while await worker.committed() != 50:
            worker.producer.answer()
            await asyncio.sleep(0)

        for kept in (worker.consumer._acked, worker.consumer._acked_index):
            assert not kept[PLACE]
        assert not handed_over
        assert not worker.consumer._gap


@pytest.mark.parametrize(("kind", "sleeps"), [(STOCK, [1]), (OURS, [])])
@in_loop
async def test_full_buffers_are_waited_for_until_one_has_room(
    kind: str, sleeps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(kind, Memory([])) as world:
        consumer, slept = world.consumer, []

        async def sleep(seconds: int) -> None:
            slept.append(seconds)

        monkeypatch.setattr(consumer, "sleep", sleep)
        consumer.resume_flow()
        consumer._set_active_tps({PLACE})
        consumer.on_buffer_full(PLACE)
        waiting = world.run(consumer._wait_next_records(3600))
        await asyncio.sleep(0)
        consumer.on_buffer_drop(PLACE)

        await waiting
        assert slept == sleeps
        assert consumer._active_partitions == {PLACE}
