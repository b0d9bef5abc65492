"""Reads the pairs topic by assignment, from where the files end. Group offsets are for displays."""

from collections.abc import Mapping
from typing import cast

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas import clients
from schemas.dead_letters import Header, Origin
from schemas.errors import PairstreamError
from schemas.retries import retried
from schemas.settings import KafkaSettings
from schemas.topics import Names
from trainer.intake import Record
from trainer.losses import find_losses, lost

log = structlog.get_logger()

RECORDS_A_READ = 2000
READ_SECONDS = 0.2
METADATA_SECONDS = 30.0


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
        self._error: PairstreamError | None = None

    def _earliest(self, partition: int) -> int:
        """Waits for a topic that was made just now."""
        place = TopicPartition(self._topic, partition)
        low, _ = retried(
            lambda: self._consumer.get_watermark_offsets(place, timeout=METADATA_SECONDS),
            failure=f"the brokers do not tell where {self._topic} begins",
            seconds=METADATA_SECONDS,
        )
        return cast("int", low)

    def start(self, positions: Mapping[int, int]) -> None:
        """Read from the positions on."""
        self._consumer.assign([TopicPartition(self._topic, p, o) for p, o in positions.items()])

    def read(self) -> list[Record]:
        """What came within a short time; empty at the end of the topic.

        Raises: PairsLost; PairstreamError for what waiting does not cure. Before it, all that came
        has been returned.
        """
        if self._error is not None:
            raise self._error
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
                self._error = self._judge(error, message) or self._error
        return records

    def _told_end(self, partition: int) -> int:
        """As the last fetch told it. Asked for it, the embedded broker names a smaller one."""
        place = TopicPartition(self._topic, partition)
        return cast("int", self._consumer.get_watermark_offsets(place, cached=True)[1])

    def _judge(self, error: KafkaError, message: Message) -> PairstreamError | None:
        """None where waiting cures it."""
        if clients.waiting_cures(error):
            log.warning("broker_unavailable", why=error.str())
            return None
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            partition, offset = cast("int", message.partition()), cast("int", message.offset())
            losses = find_losses({partition: offset}, {partition: self._earliest(partition)})
            if losses:
                return lost(self._topic, losses)
            return PairstreamError(
                f"{self._topic} partition {partition} does not hold the offset {offset}, which is "
                "to be read next: it was emptied; start the trainer with a new --data-dir"
            )
        return PairstreamError(f"the pairs cannot be read: {error.str()}")

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
