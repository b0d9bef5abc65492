"""Bounded reads of topics: from the beginning or a time to the end that they have at the start."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from schemas import clients
from schemas.errors import PairstreamError
from schemas.settings import KafkaSettings
from schemas.topics import Names

RECORDS_A_READ = 5000
READ_SECONDS = 0.1
SILENCE_SECONDS = 30.0
METADATA_SECONDS = 15.0


class TopicReader:
    """Reads one topic without a group; `total` is how many offsets lie between start and end."""

    def __init__(self, settings: KafkaSettings, topic: str, partitions: int) -> None:
        group = Names(settings.topic_prefix).trainer_group + "-reader"
        self._consumer = Consumer(clients.reader(settings, group=group) | {"log_level": 0})
        self._topic = topic
        self.ranges: dict[int, tuple[int, int]] = {}
        for partition in range(partitions):
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=METADATA_SECONDS
            )
            self.ranges[partition] = (low, high)

    @property
    def total(self) -> int:
        return sum(high - low for low, high in self.ranges.values())

    def start_at(self, since: datetime) -> None:
        """Begin with the first record of each partition that is not older."""
        milliseconds = int(since.timestamp() * 1000)
        asked = [TopicPartition(self._topic, p, milliseconds) for p in self.ranges]
        for found in self._consumer.offsets_for_times(asked, timeout=METADATA_SECONDS):
            _, high = self.ranges[found.partition]
            start = found.offset if found.offset >= 0 else high
            self.ranges[found.partition] = (start, high)

    def restrict(self, ranges: dict[int, tuple[int, int]]) -> None:
        """Read only these offsets, the second of each excluded.

        Raises: PairstreamError when retention has taken some of them.
        """
        for partition, (first, end) in ranges.items():
            low, high = self.ranges[partition]
            if first < end and (first < low or end > high):
                raise PairstreamError(
                    f"{self._topic} partition {partition} holds offsets {low} to {high - 1}, and "
                    f"{first} to {end - 1} are needed: retention took them, or it is another topic"
                )
            self.ranges[partition] = (first, end)
        for partition in self.ranges.keys() - ranges.keys():
            self.ranges[partition] = (0, 0)

    def read(self) -> Iterator[KafkaMessage]:
        """Every record in the range, in order within a partition.

        Raises: PairstreamError when the brokers fall silent before the end.
        """
        open_ends = {p: high for p, (low, high) in self.ranges.items() if high > low}
        if not open_ends:
            self._consumer.close()
            return
        self._consumer.assign(
            [
                TopicPartition(self._topic, p, self.ranges[p][0] or OFFSET_BEGINNING)
                for p in open_ends
            ]
        )
        last = time.monotonic()
        try:
            while open_ends:
                messages = self._consumer.consume(RECORDS_A_READ, timeout=READ_SECONDS)
                if messages:
                    last = time.monotonic()
                elif time.monotonic() - last > SILENCE_SECONDS:
                    raise PairstreamError(f"no record of {self._topic} came any more: broker gone?")
                yield from self._within(messages, open_ends)
        finally:
            self._consumer.close()

    def _within(
        self, messages: list[KafkaMessage], open_ends: dict[int, int]
    ) -> Iterator[KafkaMessage]:
        for message in messages:
            partition, error = cast("int", message.partition()), message.error()
            offset = cast("int", message.offset())
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    open_ends.pop(partition, None)
                elif not error.retriable():
                    raise KafkaException(error)
                continue
            if partition not in open_ends:
                continue
            if offset < open_ends[partition]:
                yield message
            if offset >= open_ends[partition] - 1:
                del open_ends[partition]
