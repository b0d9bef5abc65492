"""The topic in which received spans are kept until their traces are whole."""

import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import NewTopic

from pairstream.cluster import Cluster
from schemas import clients
from schemas.settings import TopicSettings
from schemas.topics import DAY_MS, MAX_RECORD_BYTES, Names

RETENTION_MS = DAY_MS

ACKNOWLEDGED_SECONDS = 8.0
CREATED_SECONDS = 10.0


class NotKept(Exception):
    """The brokers have not acknowledged it; `for_good`: nor would they the next time."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.for_good = for_good


def inbox_topic(settings: TopicSettings) -> NewTopic:
    """Pure."""
    return NewTopic(
        Names(settings.topic_prefix).spans,
        settings.partitions,
        settings.replication_factor,
        config={
            "cleanup.policy": "delete",
            "retention.ms": str(RETENTION_MS),
            "max.message.bytes": str(MAX_RECORD_BYTES),
        },
    )


def create_inbox(settings: TopicSettings) -> str:
    """Its name; it is made where it is missing. Raises: PairstreamError."""
    cluster, topic = Cluster(settings), inbox_topic(settings)
    if not cluster.partitions().get(topic.topic):
        cluster.create([topic])
        # Brokers hear of it a little after it is made.
        deadline = time.monotonic() + CREATED_SECONDS
        while not cluster.partitions().get(topic.topic) and time.monotonic() < deadline:
            time.sleep(0.05)
    return str(topic.topic)


class Inbox:
    """Threads may share it."""

    def __init__(self, settings: TopicSettings, topic: str) -> None:
        self._topic = topic
        # A request is answered within seconds, so its record must not be tried for longer.
        limits = {"delivery.timeout.ms": int(ACKNOWLEDGED_SECONDS * 1000), "linger.ms": 0}
        self._producer = Producer(clients.producer(settings) | limits)

    def keep(self, export: bytes) -> None:
        """Returns once the brokers have it. Raises: NotKept."""
        outcomes: list[Any] = []
        try:
            self._producer.produce(
                self._topic, export, on_delivery=lambda error, _: outcomes.append(error)
            )
        except BufferError as error:
            raise NotKept("too much waits for the brokers") from error
        except KafkaException as error:
            raise _not_kept(error.args[0]) from error
        deadline = time.monotonic() + 2 * ACKNOWLEDGED_SECONDS
        while not outcomes:
            if time.monotonic() > deadline:
                raise NotKept("the brokers do not answer")
            self._producer.poll(0.05)
        if outcomes[0] is not None:
            raise _not_kept(outcomes[0])


def _not_kept(error: KafkaError) -> NotKept:
    too_large = error.code() == KafkaError.MSG_SIZE_TOO_LARGE
    return NotKept(error.str(), for_good=too_large)
