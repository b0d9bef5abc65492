"""The records of one run in all topics, found by their key."""

from collections.abc import Callable, Container, Iterator
from typing import TypeVar, cast

import msgspec
from confluent_kafka import Message

from pairstream.cluster import Cluster
from pairstream.letters import Letter, as_letter, named_run
from pairstream.reader import TopicReader
from pairstream.run_events import EventRecord
from schemas.json_errors import JSON_ERRORS
from schemas.placement import partition_of
from schemas.rows import GarbleRequest, Outcome, Pair, ScoredRow
from schemas.settings import KafkaSettings
from schemas.topics import (
    CONSUMED,
    GARBLE_REQUESTS,
    PAIRS,
    RUN_EVENTS,
    RUN_OUTCOMES,
    SCORED_ROWS,
    Names,
    Topic,
)

PROGRESS_EVERY = 100_000

# A topic, and how many of its records have been read.
Progress = Callable[[str, int], None]

R = TypeVar("R", Outcome, ScoredRow, Pair, GarbleRequest)


class RunRecords:
    """Reads of each topic only the partition on which the run's key is placed.

    `unreadable` names rows under its key that are none.
    """

    def __init__(self, settings: KafkaSettings, run_id: str, progress: Progress) -> None:
        self.unreadable: list[str] = []
        self._names = Names(settings.topic_prefix)
        self._run_id = run_id
        self._key = run_id.encode()
        self._settings = settings
        self._progress = progress
        self._cluster = Cluster(settings)
        self._partitions = self._cluster.require(*self.topics)

    @property
    def topics(self) -> list[str]:
        """All topics in which there may be something of a run."""
        rows = (RUN_EVENTS, RUN_OUTCOMES, SCORED_ROWS, GARBLE_REQUESTS, PAIRS)
        return [*map(self._names.topic, rows), *map(self._names.dead_letters, CONSUMED)]

    def events(self) -> list[EventRecord]:
        """Where its partition has none, they are looked for in all: not all clients are alike."""
        topic = self._names.topic(RUN_EVENTS)
        found = [_event_record(message) for message in self._at_home(topic)]
        return found or [_event_record(m) for m in self._all(topic) if m.key() == self._key]

    def committed(self) -> dict[int, int]:
        """How far the workers have done with the events, by partition."""
        committed = self._cluster.committed(self._names.worker_app)
        events = self._names.topic(RUN_EVENTS)
        return {p: offset for (topic, p), offset in committed.items() if topic == events}

    def rows(self, topic: Topic, type_: type[R]) -> Iterator[R]:
        decoder = msgspec.json.Decoder(type_)
        for message in self._at_home(self._names.topic(topic)):
            try:
                yield decoder.decode(message.value() or b"")
            except JSON_ERRORS:
                self.unreadable.append(
                    f"{message.topic()}/{message.partition()}/{message.offset()}"
                )

    def letters(self, events: Container[tuple[str, int | None, int | None]]) -> Iterator[Letter]:
        """Dead letters by key, by the run that the value names, or by one of the events' places."""
        for topic in map(self._names.dead_letters, CONSUMED):
            for message in self._all(topic):
                letter = as_letter(message)
                source = (letter.source_topic or "", letter.source_partition, letter.source_offset)
                if (
                    message.key() == self._key
                    or source in events
                    or named_run(message.value()) == self._run_id
                ):
                    yield letter

    def _at_home(self, topic: str) -> Iterator[Message]:
        home = partition_of(self._key, self._partitions[topic])
        return (m for m in self._all(topic, partition=home) if m.key() == self._key)

    def _all(self, topic: str, *, partition: int | None = None) -> Iterator[Message]:
        reader = TopicReader(self._settings, topic, self._partitions[topic])
        if partition is not None:
            reader.only(partition)
        for count, message in enumerate(reader.read(), 1):
            yield message
            if count % PROGRESS_EVERY == 0:
                self._progress(topic, count)


def _event_record(message: Message) -> EventRecord:
    partition, offset = cast("int", message.partition()), cast("int", message.offset())
    return EventRecord(partition, offset, message.timestamp()[1], message.key(), message.value())
