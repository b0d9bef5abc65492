"""Bounded reads of topics: from the beginning or a time to the end that they have at the start."""

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple, cast

from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition
from confluent_kafka import Message as KafkaMessage

from pairstream.ends import Range, bounded_consumer, true_ranges
from schemas.clients import waiting_cures
from schemas.errors import PairstreamError
from schemas.retries import retried
from schemas.settings import KafkaSettings

RECORDS_A_READ = 5000
READ_SECONDS = 0.1
SILENCE_SECONDS = 30.0
METADATA_SECONDS = 15.0


class Part(NamedTuple):
    """What of a topic is read: first offset and end by partition, and nothing older than a time.

    In milliseconds since 1970, 0 for no time.
    """

    ranges: Mapping[int, Range]
    since_ms: int


class TopicReader:
    """Reads one topic without a group; `total` is how many offsets lie between start and end."""

    def __init__(
        self, settings: KafkaSettings, topic: str, partitions: int, *, part: Part | None = None
    ) -> None:
        """`part` is what another reader of the topic has found out; else the brokers are asked."""
        self._consumer = bounded_consumer(settings)
        self._topic = topic
        self._since_ms = part.since_ms if part else 0
        self._begun: set[int] = set()
        if part is not None:
            self.ranges = dict(part.ranges)
            return
        told = {(topic, partition): self._told(partition) for partition in range(partitions)}
        found = true_ranges(self._consumer, told)
        self.ranges = {partition: found[topic, partition] for partition in range(partitions)}

    def _told(self, partition: int) -> tuple[int, int]:
        place = TopicPartition(self._topic, partition)
        told: tuple[int, int] = retried(
            lambda: self._consumer.get_watermark_offsets(place, timeout=METADATA_SECONDS),
            failure=f"{self._topic} partition {partition} cannot be read",
        )
        return told

    @property
    def part(self) -> Part:
        """What `read` gives."""
        return Part(dict(self.ranges), self._since_ms)

    @property
    def total(self) -> int:
        return sum(high - low for low, high in self.ranges.values())

    def start_at(self, since: datetime) -> None:
        """Begin with the first record of each partition that is not older."""
        self._since_ms = int(since.timestamp() * 1000)
        asked = [TopicPartition(self._topic, p, self._since_ms) for p in self.ranges]
        answers = retried(
            lambda: self._consumer.offsets_for_times(asked, timeout=METADATA_SECONDS),
            failure=f"{self._topic} cannot be read from a time on",
        )
        for found in answers:
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

    def only(self, partition: int) -> None:
        """Read one partition."""
        self.restrict({partition: self.ranges[partition]})

    def newest(self, records: int) -> None:
        """Read only about so many of the newest records, an equal share of each partition."""
        share = -(-records // max(1, len(self.ranges)))
        self.ranges = {p: (max(low, high - share), high) for p, (low, high) in self.ranges.items()}

    def read(self) -> Iterator[KafkaMessage]:
        """Every record in the range, in order within a partition.

        Raises: PairstreamError when the brokers fall silent before the end.
        """
        for messages in self.batches():
            yield from messages

    def batches(self) -> Iterator[list[KafkaMessage]]:
        """The same, as they come. Raises: as `read`."""
        left = {p: range_ for p, range_ in self.ranges.items() if range_[1] > range_[0]}
        if left:
            self._consumer.assign(
                [
                    TopicPartition(self._topic, p, first or OFFSET_BEGINNING)
                    for p, (first, _) in left.items()
                ]
            )
        last = time.monotonic()
        try:
            while left:
                # No more than are missing: it would wait for others that may never come.
                missing = sum(end - first for first, end in left.values())
                messages = self._consumer.consume(
                    min(missing, RECORDS_A_READ), timeout=READ_SECONDS
                )
                if messages:
                    last = time.monotonic()
                elif time.monotonic() - last > SILENCE_SECONDS:
                    raise PairstreamError(f"no record of {self._topic} came any more: broker gone?")
                yield list(self._within(messages, left))
        finally:
            self._consumer.close()

    def _within(
        self, messages: list[KafkaMessage], left: dict[int, tuple[int, int]]
    ) -> Iterator[KafkaMessage]:
        """The records that are wanted; takes what has been read off what is left."""
        for message in messages:
            partition, error = cast("int", message.partition()), message.error()
            offset = cast("int", message.offset())
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    left.pop(partition, None)
                elif not waiting_cures(error):
                    raise PairstreamError(
                        f"{self._topic} partition {partition} cannot be read on: {error.str()}; "
                        "try again"
                    )
                continue
            if partition not in left:
                continue
            _, end = left[partition]
            if offset < end and self._has_begun(partition, message):
                yield message
            if offset >= end - 1:
                del left[partition]
            else:
                left[partition] = (offset + 1, end)

    def _has_begun(self, partition: int, message: KafkaMessage) -> bool:
        """Whether a record from `start_at`'s time on has come: the embedded broker names an offset
        before it where all records are older.
        """
        if partition not in self._begun and message.timestamp()[1] >= self._since_ms:
            self._begun.add(partition)
        return partition in self._begun
