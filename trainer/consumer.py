"""Reads the pairs topic by assignment, from where the files end. Group offsets are for displays."""

import time
from collections.abc import Mapping
from typing import cast

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas import clients
from schemas.dead_letters import Header, Origin
from schemas.errors import PairstreamError
from schemas.settings import KafkaSettings
from schemas.topics import Names

log = structlog.get_logger()

RECORDS_A_READ = 2000
READ_SECONDS = 0.2
METADATA_SECONDS = 30.0

Record = tuple[Origin, bytes | None, list[Header], bytes | None]


class PairsConsumer:
    """All partitions of one topic; `ended` are those whose known end has been reached."""

    def __init__(self, settings: KafkaSettings, topic: str, positions: Mapping[int, int]) -> None:
        names = Names(settings.topic_prefix)
        self._consumer = Consumer(clients.reader(settings, group=names.trainer_group))
        self._topic = topic
        self.ended: dict[int, int] = {}
        self._silent_since = time.monotonic()
        self.ends_at_start: dict[int, int] = {}
        for partition, position in positions.items():
            self._check_retention(partition, position)
        self._consumer.assign([TopicPartition(topic, p, o) for p, o in positions.items()])

    def _check_retention(self, partition: int, position: int) -> None:
        low, high = self._consumer.get_watermark_offsets(
            TopicPartition(self._topic, partition), timeout=METADATA_SECONDS
        )
        self.ends_at_start[partition] = high
        if position < low:
            raise PairstreamError(
                f"pairs {position} to {low - 1} of {self._topic} partition {partition} are gone "
                "(retention) before they were read: rebuild them with `pairstream replay --from "
                "events`, and start the trainer with a new --data-dir"
            )
        if position > high:
            raise PairstreamError(
                f"{self._topic} partition {partition} ends at {high}, before {position}, which "
                "has been read: the topic was emptied or re-created; use a new --data-dir"
            )

    def read(self) -> list[Record]:
        """What came within a short time; empty at the end of the topic.

        Raises: PairstreamError for what waiting does not cure.
        """
        records = []
        for message in self._consumer.consume(RECORDS_A_READ, timeout=READ_SECONDS):
            partition, error = cast("int", message.partition()), message.error()
            if error is None:
                self.ended.pop(partition, None)
                records.append(_record(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                self.ended[partition] = cast("int", message.offset())
            else:
                _judge(error)
        return records

    @property
    def caught_up(self) -> bool:
        """Whether every partition has been read to its end as the brokers last told it."""
        return len(self.ended) == len(self.ends_at_start)

    def show_position(self, positions: Mapping[int, int]) -> None:
        """Commit for lag displays; the files are the position, so a failure costs nothing."""
        offsets = [TopicPartition(self._topic, p, o) for p, o in positions.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            log.debug("position_not_shown", why=str(error))

    def close(self) -> None:
        self._consumer.close()


def _record(message: Message) -> Record:
    origin = Origin(
        cast("str", message.topic()),
        cast("int", message.partition()),
        cast("int", message.offset()),
    )
    headers = cast("list[Header]", message.headers() or [])
    return origin, message.key(), headers, message.value()


_WAITING_CURES = (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE)


def _judge(error: KafkaError) -> None:
    if error.code() in _WAITING_CURES or error.retriable():
        log.warning("broker_unavailable", why=error.str())
        return
    raise PairstreamError(f"the pairs cannot be read: {error.str()}")
