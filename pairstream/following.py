"""Follows topics as they grow, without a group: nothing is committed, nobody is disturbed."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from pairstream.cluster import Cluster
from pairstream.reader import TopicReader
from schemas import clients
from schemas.errors import PairstreamError
from schemas.settings import KafkaSettings
from schemas.topics import Names

READ_SECONDS = 0.2
RECORDS_A_READ = 500


class Follower:
    """Records of some topics from now on, or from a time on; a context manager.

    `is_alone`: no broker answers any more, which is waited for.
    Raises: PairstreamError when a topic is missing or cannot be read.
    """

    def __init__(
        self, settings: KafkaSettings, topics: Sequence[str], *, since: datetime | None
    ) -> None:
        counts = Cluster(settings).require(*topics)
        starts = [place for topic in topics for place in _starts(settings, topic, counts, since)]
        self._since_ms = int(since.timestamp() * 1000) if since else 0
        group = Names(settings.topic_prefix).reader_group
        self.is_alone = self._is_told_down = False
        ours = {"log_level": 0, "error_cb": self._on_error}
        self._consumer = Consumer(clients.reader(settings, group=group) | ours)
        self._consumer.assign(starts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def news(self) -> Iterator[Message]:
        """What has come since the last look, within a short time; in order within a partition."""
        if self._is_told_down:  # that may be over by now
            self.is_alone = self._is_told_down = not self._is_answered()
        for message in self._consumer.consume(RECORDS_A_READ, timeout=READ_SECONDS):
            error = message.error()
            if error is None:
                # The embedded broker names a place before the time where all records are older.
                if message.timestamp()[1] >= self._since_ms:
                    yield message
            elif not clients.waiting_cures(error) and error.code() != clients.END_OF_PARTITION:
                raise PairstreamError(f"the topics cannot be read on: {error.str()}; try again")

    def _on_error(self, error: KafkaError) -> None:
        """Called while it consumes."""
        self._is_told_down = self._is_told_down or error.code() == KafkaError._ALL_BROKERS_DOWN

    def _is_answered(self) -> bool:
        try:
            self._consumer.list_topics(timeout=READ_SECONDS)
        except KafkaException:
            return False
        return True


def _starts(
    settings: KafkaSettings, topic: str, counts: Mapping[str, int], since: datetime | None
) -> Iterator[TopicPartition]:
    reader = TopicReader(settings, topic, counts[topic])
    if since is not None:
        reader.start_at(since)
    for partition, (first, end) in reader.ranges.items():
        start = end if since is None else first
        yield TopicPartition(topic, partition, start or OFFSET_BEGINNING)
