"""What `verify` looks at: ranges of offsets fixed at the start, so that a live cluster may go on.

What a worker has committed is read first, then where the topics of rows end, then where the events
end. So rows of committed events must be there, and rows that are there have their events.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta

from confluent_kafka import KafkaError, Message, TopicPartition

from pairstream.cluster import Cluster, Ranges
from pairstream.ends import bounded_consumer
from schemas.clients import waiting_cures
from schemas.errors import PairstreamError
from schemas.placement import partition_of
from schemas.settings import KafkaSettings
from schemas.topics import RUN_EVENTS, TOPICS, TRAININGS, Names, Topic

RECORDS_A_READ = 5000
READ_SECONDS = 0.1
SILENCE_SECONDS = 30.0
METADATA_SECONDS = 15.0

# Agents' clocks stamp events, workers' clocks stamp rows: they may differ by so much.
CLOCKS_DIFFER = timedelta(hours=1)


@dataclass(frozen=True)
class Scope:
    """What was asked for: everything, one run, or what came since a time."""

    run_id: str | None = None
    since: datetime | None = None

    def partitions(self, count: int) -> list[int]:
        if self.run_id is None:
            return list(range(count))
        return [partition_of(self.run_id.encode(), count)]

    def wants(self, run_id: str) -> bool:
        return self.run_id in (None, run_id)

    def wants_key(self, key: bytes | None) -> bool:
        return self.run_id is None or key == self.run_id.encode()


@dataclass(frozen=True)
class Snapshot:
    """By topic without prefix: partitions, and the offsets to read.

    Attributes:
        committed: by topic and partition, how far the workers have certainly done.
        horizons: of a topic whose beginning is missing, when the first record that is there came
            (in ms since 1970): of what came before, nothing can be said.
        kept: the offsets that are there, of which those to read are the whole or the newer part.
    """

    partitions: Mapping[str, int]
    ranges: Mapping[str, Ranges]
    committed: Mapping[tuple[str, int], int]
    horizons: Mapping[str, int]
    kept: Mapping[str, Ranges]

    def is_committed(self, topic: Topic, partition: int, offset: int) -> bool:
        return offset < self.committed.get((topic.name, partition), 0)

    def is_complete(self, topic: Topic) -> bool:
        return topic.name not in self.horizons


class LogReader:
    """Reads partitions of topics, each with a consumer of its own and without a group.

    A consumer that is given another partition can sleep for a second before it fetches from it.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    def read(self, topic: str, partition: int, first: int, end: int) -> Iterator[Message]:
        """Every record from `first` on and before `end`.

        Raises: PairstreamError when the brokers fall silent before the end.
        """
        if first >= end:
            return
        with closing(bounded_consumer(self._settings)) as consumer:
            consumer.assign([TopicPartition(topic, partition, first)])
            last = time.monotonic()
            while first < end:
                messages = consumer.consume(min(end - first, RECORDS_A_READ), READ_SECONDS)
                if messages:
                    last = time.monotonic()
                elif time.monotonic() - last > SILENCE_SECONDS:
                    raise PairstreamError(f"no record of {topic} came any more: broker gone?")
                for message in messages:
                    first = _next_offset(message, first, end)
                    if message.error() is None and first <= end:
                        yield message

    def start_of(self, topic: str, ranges: Ranges, since: datetime) -> Ranges:
        """The ranges from the first record on that is not older."""
        milliseconds = int(since.timestamp() * 1000)
        asked = [TopicPartition(topic, partition, milliseconds) for partition in ranges]
        with closing(bounded_consumer(self._settings)) as consumer:
            found = consumer.offsets_for_times(asked, timeout=METADATA_SECONDS)
        return {place.partition: self._from(topic, place, ranges, milliseconds) for place in found}

    def _from(
        self, topic: str, found: TopicPartition, ranges: Ranges, milliseconds: int
    ) -> tuple[int, int]:
        """Where nothing is younger, Kafka names no offset, and the embedded broker the first."""
        low, high = ranges[found.partition]
        start = max(low, found.offset) if found.offset >= 0 else high
        for message in self.read(topic, found.partition, start, min(start + 1, high)):
            if message.timestamp()[1] < milliseconds:
                return high, high
        return start, high

    def horizon(self, topic: str, ranges: Ranges) -> int | None:
        """When the newest of the first records came; None where no beginning is missing."""
        times = [
            message.timestamp()[1]
            for partition, (low, high) in ranges.items()
            if 0 < low < high
            for message in self.read(topic, partition, low, low + 1)
        ]
        if any(0 < low == high for low, high in ranges.values()):
            times.append(int(time.time() * 1000))  # nothing is left to tell it
        return max(times, default=None)


def _next_offset(message: Message, first: int, end: int) -> int:
    """Where to read on after a record, or after a notice instead of one."""
    error = message.error()
    if error is None:
        return int(message.offset() or 0) + 1
    if error.code() == KafkaError._PARTITION_EOF:
        return end
    if not waiting_cures(error):
        place = f"{message.topic()} partition {message.partition()}"
        raise PairstreamError(f"{place} cannot be read on: {error.str()}; try again")
    return first


def take_snapshot(
    settings: KafkaSettings, cluster: Cluster, reader: LogReader, scope: Scope
) -> Snapshot:
    """Raises: PairstreamError when topics are missing or the brokers do not answer."""
    names = Names(settings.topic_prefix)
    prefix = len(settings.topic_prefix)
    counts = cluster.require(*map(names.topic, TOPICS), names.state_changelog)
    committed = cluster.committed(names.worker_app)
    events = names.topic(RUN_EVENTS)
    rows_first = cluster.ranges({name: n for name, n in counts.items() if name != events})
    kept = {**rows_first, **cluster.ranges({events: counts[events]})}
    ranges, horizons = dict(kept), {}
    for name in ranges:
        if scope.since is not None and name not in _read_whole(names):
            start = scope.since if name == events else scope.since - CLOCKS_DIFFER
            ranges[name] = reader.start_of(name, ranges[name], start)
            horizons[name[prefix:]] = int(start.timestamp() * 1000)
        elif (horizon := reader.horizon(name, ranges[name])) is not None:
            horizons[name[prefix:]] = horizon
    return Snapshot(
        {name[prefix:]: count for name, count in counts.items()},
        {name[prefix:]: of_topic for name, of_topic in ranges.items()},
        {(name[prefix:], partition): offset for (name, partition), offset in committed.items()},
        horizons,
        {name[prefix:]: of_topic for name, of_topic in kept.items()},
    )


def _read_whole(names: Names) -> set[str]:
    """Topics whose beginning is needed whatever is asked for."""
    return {names.topic(TRAININGS), names.state_changelog}
