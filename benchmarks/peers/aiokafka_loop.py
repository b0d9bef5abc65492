"""aiokafka alone: batches by `getmany`, rows and a changelog by its producer, commits by hand.

State is a dictionary; what a run has left open at the end of a batch goes to a compacted topic,
as its users write it down. It is spared what restoring it would take.
"""

import asyncio
import os
from collections.abc import Awaitable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.peers.job import Ready, is_last, rows_of
from schemas.topics import RUN_EVENTS, Names

SERVERS = os.environ["PAIRSTREAM_BOOTSTRAP_SERVERS"]
NAMES = Names(os.environ["PAIRSTREAM_TOPIC_PREFIX"])

BATCH_RECORDS = 2000
WAIT_MS = 200


class Worker:
    """Folds batches, and remembers which events of open runs are in the changelog."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._runs: dict[bytes, list[bytes]] = {}
        self._written: dict[bytes, int] = {}
        self._ready = Ready()

    async def work(self, records: Sequence[Any]) -> None:
        self._ready()
        sent: list[Awaitable[object]] = []
        touched: dict[bytes, int] = {}
        for record in records:
            key, value = record.key, record.value
            events = self._runs.setdefault(key, [])
            events.append(value)
            touched[key] = record.partition
            if is_last(value):
                del self._runs[key]
                for topic, row in rows_of(events):
                    sent.append(await self._producer.send(NAMES.topic(topic), row, key))
        await asyncio.gather(*sent)
        await asyncio.gather(*[await each for each in self._changes(touched)])

    def _changes(self, touched: dict[bytes, int]) -> list[Awaitable[Awaitable[object]]]:
        """One record for each event that is not written yet; none for runs within one batch."""
        changes: list[Awaitable[Awaitable[object]]] = []
        for key, partition in touched.items():
            events, written = self._runs.get(key), self._written.pop(key, 0)
            new: list[tuple[int, bytes | None]]
            if events is None:
                new = [(place, None) for place in range(written)]
            else:
                new = [(place, events[place]) for place in range(written, len(events))]
                self._written[key] = len(events)
            changes += [
                self._producer.send(
                    NAMES.state_changelog, value, key + b"\x00%d" % place, partition=partition
                )
                for place, value in new
            ]
        return changes


async def main() -> None:
    consumer = AIOKafkaConsumer(
        NAMES.topic(RUN_EVENTS),
        bootstrap_servers=SERVERS,
        group_id=f"{NAMES.prefix}aiokafka",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=SERVERS,
        enable_idempotence=True,
        acks="all",
        linger_ms=5,
        max_request_size=8 * 1024 * 1024,
    )
    await consumer.start()
    await producer.start()
    worker = Worker(producer)
    while True:
        batches = await consumer.getmany(timeout_ms=WAIT_MS, max_records=BATCH_RECORDS)
        for records in batches.values():
            await worker.work(records)
        if batches:
            await consumer.commit()


if __name__ == "__main__":
    asyncio.run(main())
