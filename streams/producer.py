"""The worker's one producer: idempotent, acknowledged by every in-sync replica, polled by asyncio.

Everything the worker writes goes through it, rows and state alike, so that records of one
partition keep their order.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import confluent_kafka

from schemas.clients import ClientConfig

Header = tuple[str, bytes | None]

POLL_SECONDS = 0.002
IDLE_POLL_SECONDS = 1.0
ANSWER_SECONDS = 1.0


class Record(NamedTuple):
    """What is to be written; without a partition the key decides (murmur2)."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int = -1
    headers: Sequence[Header] | None = None


class Delivery:
    """Counts down the acknowledgements of a group of records; `done` ends when all are in.

    One object a group: a callback object a record costs more than the send itself.
    """

    __slots__ = ("_failed", "_waiting", "done")

    def __init__(self, count: int, failed: Callable[[str], None]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting = count
        self._failed = failed
        if not count:
            self.done.set_result(None)

    def __call__(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failed(f"{message.topic()}: {error.str()}")
        self._waiting -= 1
        if not self._waiting and not self.done.done():
            self.done.set_result(None)


class RecordProducer:
    """Sends groups of records.

    Guarantee: `failed` is called for every record that was not acknowledged; the log is the
    truth then, and the process must end without committing.
    """

    def __init__(self, config: ClientConfig, *, failed: Callable[[str], None]) -> None:
        self._producer = confluent_kafka.Producer(config)
        self._failed = failed
        self._busy = asyncio.Event()

    async def send(self, records: Sequence[Record]) -> Delivery:
        """Queue records in order; waits only where librdkafka's queue is full."""
        delivery = Delivery(len(records), self._failed)
        self._busy.set()
        for record in records:
            while not self._produce(record, delivery):  # noqa: ASYNC110 - librdkafka has no event
                await asyncio.sleep(POLL_SECONDS)
        return delivery

    def _produce(self, record: Record, delivery: Delivery) -> bool:
        topic, key, value, partition, headers = record
        try:
            if headers:
                named = list(headers)
                self._producer.produce(
                    topic, value, key, partition, on_delivery=delivery, headers=named
                )
            else:
                self._producer.produce(topic, value, key, partition, on_delivery=delivery)
        except BufferError:
            return False
        except confluent_kafka.KafkaException as error:
            self._failed(f"{record.topic}: {error.args[0].str()}")
        return True

    def reaches_brokers(self) -> bool:
        """Ask for the topics, with a short wait; may be called from any thread."""
        try:
            self._producer.list_topics(timeout=ANSWER_SECONDS)
        except confluent_kafka.KafkaException:
            return False
        return True

    async def serve(self) -> None:
        """Take in acknowledgements for as long as the worker runs."""
        while True:
            if len(self._producer):
                self._producer.poll(0)
                await asyncio.sleep(POLL_SECONDS)
                continue
            self._busy.clear()
            try:
                await asyncio.wait_for(self._busy.wait(), IDLE_POLL_SECONDS)
            except TimeoutError:
                self._producer.poll(0)
