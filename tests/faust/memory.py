"""Faust without a broker: its own consumer or ours, fed from a partition in memory.

Between the partition and the agent everything is Faust's: the consumer's loop and its commits, the
conductor, the streams. Only what would ask a broker is answered here.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Self

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, EventT

from schemas.topics import RUN_EVENTS, Names
from streams.transport import BatchConsumer, BatchSchema

PLACE = TP(Names("").topic(RUN_EVENTS), 0)

STOCK, OURS = "stock", "ours"

# Of a test that fails; one that passes waits for conditions only.
FAILED_SECONDS = 20.0


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Memory:
    """One partition, and the part of Faust's consumer that would talk to the brokers about it."""

    def __init__(
        self,
        offsets: Iterable[int],
        *,
        committed: int | None = None,
        values: Sequence[bytes] = (),
    ) -> None:
        self.group_offset = committed
        self.refuses_commits = False
        # While it is there, a fetch keeps what it took until it is set.
        self.held: asyncio.Event | None = None
        self.is_taken = asyncio.Event()
        # Until it is set, nobody is told what is committed.
        self.answers = asyncio.Event()
        self.answers.set()
        self.is_asked = asyncio.Event()
        self.is_waiting = False
        self.records: list[Any] = []
        self.assigned = {PLACE}
        self._position = committed or 0
        self._changed = asyncio.Event()
        self.append(offsets, values)
        # As aiokafka's own `seek_to_committed` calls its parts.
        self._subscription = self._fetcher = self

    def append(self, offsets: Iterable[int], values: Sequence[bytes] = ()) -> None:
        for number, offset in enumerate(offsets):
            value = values[number] if values else b"%d" % offset
            place = (PLACE.topic, PLACE.partition, offset, 1_000, 0)
            self.records.append(ConsumerRecord(*place, b"r-1", value, None, 3, len(value), ()))
        self._changed.set()

    def reassign(self) -> None:
        """What aiokafka does with a partition that a rebalance gives to it."""
        self.seek(PLACE, self.group_offset or 0)

    def look_again(self) -> None:
        self.is_waiting = False
        self._changed.set()

    # --- As Faust's consumer asks ----------------------------------------------------------------

    async def getmany(self, *_: object) -> Mapping[TP, list[Any]]:
        while not (found := [r for r in self.records if r.offset >= self._position]):
            self._changed.clear()
            self.is_waiting = True
            await self._changed.wait()
        self.is_waiting = False
        self._position = found[-1].offset + 1
        if self.held:
            self.is_taken.set()
            await self.held.wait()
        return {PLACE: found}

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        if not self.refuses_commits:
            self.group_offset = offsets[PLACE]
        return not self.refuses_commits

    def seek(self, tp: TP, offset: int) -> None:
        self._position = offset
        self._changed.set()

    def assignment(self) -> set[TP]:
        return self.assigned

    def highwater(self, tp: TP) -> int:
        return len(self.records)

    def topic_partitions(self, topic: str) -> int:
        return 1

    # --- As aiokafka asks ------------------------------------------------------------------------

    seek_to_committed = AIOKafkaConsumer.seek_to_committed
    seek_to = seek

    def assigned_partitions(self) -> set[TP]:
        return self.assigned

    async def committed(self, tp: TP) -> int | None:
        self.is_asked.set()
        await self.answers.wait()
        return self.group_offset if tp == PLACE else None


class World:
    """An app whose consumer drains a partition in memory for as long as the context lasts."""

    def __init__(self, kind: str, memory: Memory, app: faust.App | None = None) -> None:
        self.memory = memory
        self.app: Any = app or faust.App("app", broker="kafka://127.0.0.1:1", store="memory://")
        self.app.loop = asyncio.get_running_loop()
        self.events: list[EventT[Any]] = []
        self.consumer: Any = (driver.Consumer if kind == STOCK else BatchConsumer)(
            self.app.transport,
            callback=self.app.topics.on_message,
            on_partitions_revoked=self.app._on_partitions_revoked,
            on_partitions_assigned=self._assigned,
        )
        # So that both can be asked the same.
        self.consumer.batch_records = 1
        self.consumer._thread = memory
        self.app._consumer = self.consumer
        self.app.consumer_generation_id = 0
        self._is_stock = kind == STOCK
        self._tasks: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        self._tasks.append(asyncio.create_task(work))
        return self._tasks[-1]

    def stream(self, **options: Any) -> Any:
        raw = {"key_type": bytes, "value_type": bytes}
        if self._is_stock:
            options = {"key_serializer": "raw", "value_serializer": "raw", **options}
        else:
            options = {"schema": BatchSchema(**raw), **options}
        return self.app.stream(self.app.topic(PLACE.topic, **{**raw, **options}))

    async def start(self) -> None:
        """Begin to drain; the streams must be there."""
        await self.app.topics._update_indices()
        await self._assigned({PLACE})
        await self.go_on()
        fetcher = SimpleNamespace(_stopped=asyncio.Event())
        self._drain = self.run(self.consumer._drain_messages(fetcher))

    async def start_collecting(self) -> None:
        """Begin to drain, with an agent that keeps its events and acknowledges none."""
        self.run(self.collect(self.stream().noack()))
        await self.start()

    async def collect(self, stream: Any) -> None:
        async for event in stream.events():
            self.events.append(event)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(FAILED_SECONDS):
            # None of Faust's parts tells when it is done.
            while not condition():
                if self._drain.done():
                    await self._drain
                await asyncio.sleep(0)

    async def looked(self) -> None:
        """Until all that can be fetched now was, and what was handed over of it is given."""
        self.memory.look_again()
        await self.until(lambda: self.memory.is_waiting)
        handed_over = self.consumer._handed_over
        await self.until(lambda: len(self.events) >= len(handed_over[PLACE]))

    async def given(self, count: int) -> list[EventT[Any]]:
        await self.until(lambda: len(self.events) >= count)
        return list(self.events)

    async def given_up_to(self, offset: int) -> list[int]:
        """The offsets that are given until a record comes that is written now, each once."""
        self.memory.append([offset])
        await self.until(lambda: offset in self._offsets())
        return sorted(self._offsets())

    def _offsets(self) -> set[int]:
        return {event.message.offset for event in self.events}

    async def acknowledged(self, offsets: set[int]) -> None:
        await self.until(lambda: self.consumer._acked_index[PLACE] == offsets)

    async def committed(self) -> int | None:
        """What the group has after a commit, as the timer of the consumer makes one."""
        await self.consumer.commit()
        return self.memory.group_offset

    # --- Rebalances ------------------------------------------------------------------------------

    async def revoke(self) -> None:
        await self.consumer.on_partitions_revoked({PLACE})

    async def assign(self) -> None:
        """The partition is ours again; Faust lets nothing through until `go_on`."""
        self.app.consumer_generation_id += 1
        self.events.clear()
        self.memory.reassign()
        self.app.on_rebalance_start()
        await self.consumer.on_partitions_assigned({PLACE}, self.app.consumer_generation_id)

    async def _assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        await self.app.topics.on_partitions_assigned(assigned)

    async def go_on(self) -> None:
        """As Faust does when the tables are recovered."""
        await self.consumer.perform_seek()
        self.consumer.resume_partitions({PLACE})
        self.app.flow_control.resume()
        self.consumer.resume_flow()
