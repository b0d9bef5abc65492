"""Our whole worker on a partition in memory: its app, agents and pipeline, only without sockets."""

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import orjson

from schemas.settings import WorkerSettings
from schemas.topics import RUN_EVENTS
from streams import app as wiring
from streams.producer import Delivery, Record
from streams.vitals import WorkerVitals
from tests.faust.memory import OURS, PLACE, Memory, World
from tests.streams.histories import started

# The first begins a run, so it asks for state and no row; the second asks for a dead letter.
OPENS_A_RUN = orjson.dumps(started("r-1"))
REFUSED = b"{not json"


class Ended(BaseException):
    """Stands for the end of the process, which no `except Exception` survives either."""


class HeldProducer:
    """Keeps what it is given, and acknowledges or refuses it when it is told to."""

    def __init__(self, config: object, *, failed: Callable[[str], None]) -> None:
        self._failed = failed
        self._unanswered: list[tuple[Record, Delivery]] = []
        self.sent: list[Record] = []

    async def send(self, records: Sequence[Record]) -> Delivery:
        delivery = Delivery(len(records), self._failed)
        self.sent += records
        self._unanswered += [(record, delivery) for record in records]
        return delivery

    async def serve(self) -> None:
        await asyncio.Event().wait()

    def answer(self, error: Any = None) -> None:
        """All that was sent so far is written, or all of it failed with `error`."""
        answered, self._unanswered = self._unanswered, []
        for record, delivery in answered:
            delivery(error, SimpleNamespace(topic=lambda topic=record.topic: topic))


def worker_parts(**settings: Any) -> tuple[wiring.WorkerApp, list[str]]:
    """A worker, and why it would have ended."""
    ends: list[str] = []

    def end(why: str) -> None:
        ends.append(why)
        raise Ended(why)

    chosen = WorkerSettings(**settings)
    worker = wiring.WorkerApp(
        chosen,
        partitions=1,
        describe_source=lambda: b"",
        vitals=WorkerVitals(chosen),
        failed=end,
    )
    return worker, ends


class Worker(World):
    """The worker settles runs of the partition; `ends` says why it ended."""

    def __init__(self, memory: Memory, *, batch_records: int = 1, **settings: Any) -> None:
        self.parts, self.ends = worker_parts(**settings)
        super().__init__(OURS, memory, self.parts.faust)
        self.consumer.batch_records = batch_records
        self.parts.table.runs[PLACE.partition] = self.parts.table.new_partition()
        self.producer: Any = self.parts.producer
        self.letters = self.parts.names.dead_letters(RUN_EVENTS)

    async def start_settling(self) -> asyncio.Task[Any]:
        [agent] = [a for a in self.app.agents.values() if a.name.endswith("settle_runs")]
        settling = self.run(agent.fun(agent.stream()))
        await self.start()
        return settling

    async def ended(self, task: asyncio.Task[Any]) -> str:
        """Waits for the end, and tells why it came."""
        await self.until(task.done)
        assert isinstance(task.exception(), Ended)
        return self.ends[0]

    async def sent(self, count: int) -> list[Record]:
        await self.until(lambda: len(self.producer.sent) >= count)
        return list(self.producer.sent)

    def fail_at(self, offset: int) -> None:
        """Stands for a defect of ours in the fold of that record."""
        runs: Any = self.parts.table.runs[PLACE.partition]
        fold = runs.apply

        def failing(records: Any, **more: Any) -> Any:
            records = list(records)
            if offset in (number for _, _, number in records):
                raise ArithmeticError(offset)
            return fold(records, **more)

        runs.apply = failing
