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
from trainer.intake import Record

log = structlog.get_logger()

RECORDS_A_READ = 2000
READ_SECONDS = 0.2
METADATA_SECONDS = 30.0
RETRY_SECONDS = 0.1


class PairsConsumer:
    """All partitions of one topic.

    `earliest` are their first offsets when it was made. `ends_at_start` are their ends as the first
    answers told them, `ended` those of the partitions that have been read to their end by now;
    an end may lie behind the marks of a transaction.

    Raises: PairstreamError when the brokers do not tell where the topic begins.
    """

    def __init__(self, settings: KafkaSettings, topic: str, partitions: int) -> None:
        names = Names(settings.topic_prefix)
        self._consumer = Consumer(clients.reader(settings, group=names.trainer_group))
        self._topic = topic
        self.earliest = {partition: self._earliest(partition) for partition in range(partitions)}
        self.ends_at_start: dict[int, int] = {}
        self.ended: dict[int, int] = {}

    def _earliest(self, partition: int) -> int:
        """Waits for a topic that was made just now."""
        deadline = time.monotonic() + METADATA_SECONDS
        place = TopicPartition(self._topic, partition)
        while True:
            try:
                low, _ = self._consumer.get_watermark_offsets(place, timeout=METADATA_SECONDS)
                return cast("int", low)
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise PairstreamError(
                        f"the brokers do not tell where {self._topic} begins: "
                        f"{error.args[0].str()}; start the trainer again"
                    ) from error
            time.sleep(RETRY_SECONDS)

    def start(self, positions: Mapping[int, int]) -> None:
        """Read from the positions on.

        Raises: PairstreamError when retention took what is there.
        """
        for partition, position in positions.items():
            low = self.earliest[partition]
            if position < low:
                raise PairstreamError(
                    f"pairs {position} to {low - 1} of {self._topic} partition {partition} are "
                    "gone (retention) before they were read: rebuild them with `pairstream replay "
                    "--from events`, and start the trainer with a new --data-dir"
                )
        self._consumer.assign([TopicPartition(self._topic, p, o) for p, o in positions.items()])

    def read(self) -> list[Record]:
        """What came within a short time; empty at the end of the topic.

        Raises: PairstreamError for what waiting does not cure.
        """
        records = []
        for message in self._consumer.consume(RECORDS_A_READ, timeout=READ_SECONDS):
            partition, error = cast("int", message.partition()), message.error()
            if error is None:
                self.ended.pop(partition, None)
                self.ends_at_start.setdefault(partition, self._told_end(partition))
                records.append(_record(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                end = self.ended[partition] = cast("int", message.offset())
                self.ends_at_start[partition] = min(end, self.ends_at_start.get(partition, end))
            else:
                self._judge(error, message)
        return records

    def _told_end(self, partition: int) -> int:
        """As the last fetch told it. Asked for it, the embedded broker names a smaller one."""
        place = TopicPartition(self._topic, partition)
        return cast("int", self._consumer.get_watermark_offsets(place, cached=True)[1])

    def _judge(self, error: KafkaError, message: Message) -> None:
        if clients.waiting_cures(error):
            log.warning("broker_unavailable", why=error.str())
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise PairstreamError(
                f"{self._topic} partition {message.partition()} does not hold the offset "
                f"{message.offset()}, which is to be read next: it was emptied, or retention took "
                "it; start the trainer with a new --data-dir"
            )
        else:
            raise PairstreamError(f"the pairs cannot be read: {error.str()}")

    @property
    def has_heard_of_all(self) -> bool:
        """Whether every partition has answered, so that its end is known."""
        return len(self.ends_at_start) == len(self.earliest)

    def known_ends(self) -> dict[int, int]:
        """The ends as the last answers told them; asks nobody."""
        return {
            partition: self.ended.get(partition, self._told_end(partition))
            for partition in self.ends_at_start
        }

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
