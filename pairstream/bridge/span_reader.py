"""Reads topics of OTLP exports from where the last bridge left off, and remembers how far it came.

No group membership: one bridge reads all partitions. A position is committed with the traces to
pass over there (`book`).
"""

from collections.abc import Iterable, Mapping
from functools import partial

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from pairstream.bridge.book import Place, Position
from schemas import clients
from schemas.errors import PairstreamError
from schemas.retries import retried
from schemas.settings import KafkaSettings
from schemas.topics import Names

ANSWER_SECONDS = 10.0
BATCH = 500


class SpanReader:
    """Attributes:
    passed_over: the traces that a bridge before this one was done with, by the place of the
        position that tells them.
    ends: where the topics end of which something is left to read; read only where a trace is
        passed over.
    """

    def __init__(self, settings: KafkaSettings, topics: Mapping[str, int]) -> None:
        # Where retention has taken what was not read yet, the oldest that is left comes next.
        config = clients.reader(settings, group=Names(settings.topic_prefix).bridge_group)
        self._consumer = Consumer(config | {"auto.offset.reset": "earliest"})
        wanted = [TopicPartition(name, p) for name, count in topics.items() for p in range(count)]
        committed = retried(
            lambda: self._consumer.committed(wanted, timeout=ANSWER_SECONDS),
            failure="the brokers do not tell how far the bridge has come",
        )
        self.passed_over: dict[Place, list[str]] = {
            (each.topic, each.partition): each.metadata.split()
            for each in committed
            if each.metadata
        }
        self.ends = self._ends(committed) if self.passed_over else {}
        self._committed: dict[Place, Position] = {}
        self._consumer.assign(
            [
                TopicPartition(
                    each.topic,
                    each.partition,
                    each.offset if each.offset >= 0 else OFFSET_BEGINNING,
                )
                for each in committed
            ]
        )

    def _ends(self, committed: Iterable[TopicPartition]) -> dict[Place, int]:
        ends: dict[Place, int] = {}
        for each in committed:
            low, high = retried(
                partial(self._consumer.get_watermark_offsets, each, timeout=ANSWER_SECONDS),
                failure="the brokers do not tell where the spans end",
            )
            if high > max(low, each.offset):
                ends[each.topic, each.partition] = high
        return ends

    def read(self, seconds: float) -> Iterable[Message]:
        """What has come by then. Raises: PairstreamError when a topic cannot be read."""
        for message in self._consumer.consume(BATCH, timeout=seconds):
            error = message.error()
            if error is None:
                yield message
            elif error.code() != KafkaError._PARTITION_EOF and not clients.waiting_cures(error):
                raise PairstreamError(f"{message.topic()} cannot be read: {error.str()}")

    def commit(self, positions: Mapping[Place, Position]) -> None:
        """Only what has changed. Raises: PairstreamError."""
        changed = {at: to for at, to in positions.items() if self._committed.get(at) != to}
        if not changed:
            return
        offsets = [
            TopicPartition(topic, partition, to.offset, metadata=" ".join(to.straddling))
            for (topic, partition), to in changed.items()
        ]
        retried(
            lambda: self._consumer.commit(offsets=offsets, asynchronous=False),
            failure="the brokers do not take in how far the bridge has come",
        )
        self._committed |= changed

    def close(self) -> None:
        self._consumer.close()
