"""Keeps the index up with topics and files: a thread that reads on for ever.

Whatever stands in the way is told on the pages, waited for and tried again.
"""

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from types import TracebackType
from typing import Self, TypeVar

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from pairstream.cluster import Cluster
from pairstream.ui.index_rows import (
    letter_of,
    outcome_of,
    pair_of,
    pairs_in_segment,
    step_of,
)
from pairstream.ui.index_tables import FILE
from pairstream.ui.index_writer import Batch, IndexWriter
from schemas import clients
from schemas.errors import PairstreamError
from schemas.settings import DataSettings
from schemas.topics import CONSUMED, PAIRS, RUN_OUTCOMES, TRAININGS, Names
from trainer.layout import DataDir
from trainer.segments import list_segments

log = structlog.get_logger()

RECORDS_A_BATCH = 5000
READ_SECONDS = 0.25
ANSWER_SECONDS = 2.0
PAUSE_SECONDS = 2.0

T = TypeVar("T")


class Follower:
    """A context manager; `problems` say, each in one line, what it waits for; `is_level`: it has
    seen every topic's end.
    """

    def __init__(self, settings: DataSettings) -> None:
        """Opens the index. Raises: PairstreamError where there is none and none can be made."""
        self.is_level = False
        self._problems: dict[str, str | None] = {}
        self._looked_at = -PAUSE_SECONDS
        self._all_down = threading.Event()
        self._settings = settings
        self._names = Names(settings.topic_prefix)
        self._data = DataDir(settings.data_dir)
        try:
            self._writer = IndexWriter(settings.data_dir / FILE)
        except (OSError, sqlite3.Error) as error:
            raise PairstreamError(
                f"the index {settings.data_dir / FILE} cannot be written ({error}): name another "
                "--data-dir, or give this user the right to write there"
            ) from error
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="index", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._writer.close()

    @property
    def topics(self) -> list[str]:
        """All that it reads."""
        rows = map(self._names.topic, (PAIRS, RUN_OUTCOMES, TRAININGS))
        return [*rows, *map(self._names.dead_letters, CONSUMED)]

    @property
    def problems(self) -> list[str]:
        return [problem for problem in list(self._problems.values()) if problem is not None]

    def _work(self) -> None:
        while not self._stop.is_set():
            self._take_segments()
            try:
                self._follow()
            except (PairstreamError, sqlite3.Error) as error:
                self._tell("topics", str(error))
                self.is_level = False
                self._stop.wait(PAUSE_SECONDS)

    def _tell(self, what: str, problem: str | None) -> None:
        if problem is not None and problem != self._problems.get(what):
            log.warning("index_waits", what=what, why=problem)
        self._problems[what] = problem

    # --- Files -----------------------------------------------------------------------------------

    def _take_segments(self) -> None:
        """Those that are new; what is wrong with them holds up no topic."""
        if time.monotonic() - self._looked_at < PAUSE_SECONDS:
            return
        try:
            done = self._writer.segments()
            for segment in list_segments(self._data.segments):
                if str(segment.path) not in done and not self._stop.is_set():
                    self._take_segment(str(segment.path))
        except (PairstreamError, OSError, sqlite3.Error) as error:
            self._tell("files", str(error))
        else:
            self._tell("files", None)
        self._looked_at = time.monotonic()

    def _take_segment(self, path: str) -> None:
        with (self._data.segments / path).open("rb") as lines:
            pairs = pairs_in_segment(path, lines)
            while part := list(islice(pairs, RECORDS_A_BATCH)):
                self._writer.take(Batch(pairs=part))
        self._writer.take(Batch(segments=[path]))

    # --- Topics ----------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Until the stop. Raises: PairstreamError when the brokers cannot be read."""
        cluster = Cluster(self._settings)
        partitions = cluster.require(*self.topics, wait_seconds=ANSWER_SECONDS)
        self._check_source(cluster)
        # What retention has taken is no loss here: it starts with what is kept.
        config = clients.reader(self._settings, group=self._names.reader_group)
        ours = {"auto.offset.reset": "earliest", "log_level": 0, "error_cb": self._on_error}
        self._all_down.clear()
        with closing(Consumer(config | ours)) as consumer:
            positions = self._writer.positions()
            places = [(topic, p) for topic, count in partitions.items() for p in range(count)]
            consumer.assign([TopicPartition(*each, positions.get(each, 0)) for each in places])
            self._tell("topics", None)
            self._read(consumer, set(places))

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._all_down.set()

    def _check_source(self, cluster: Cluster) -> None:
        """Start anew where the topics are others than those that were read so far."""
        source = msgspec.json.encode(cluster.describe(*self.topics)).decode()
        if self._writer.source() not in (None, source):
            log.warning("index_made_anew", why="the topics are others than before")
            self._writer.clear()
            self._looked_at = -PAUSE_SECONDS
            self._take_segments()
        self._writer.set_source(source)

    def _read(self, consumer: Consumer, unread: set[tuple[str, int]]) -> None:
        while not self._stop.is_set():
            messages = consumer.consume(RECORDS_A_BATCH, timeout=READ_SECONDS)
            records = list(_records(messages, unread))
            if records:
                self._writer.take(self._batch(records))
            self.is_level = not unread
            self._take_segments()
            if self._all_down.is_set():
                raise PairstreamError(
                    f"no broker answers at {self._settings.bootstrap_servers} any more"
                )

    def _batch(self, records: Sequence[Message]) -> Batch:
        batch = Batch()
        pairs, outcomes, trainings = map(self._names.topic, (PAIRS, RUN_OUTCOMES, TRAININGS))
        for message in records:
            topic = str(message.topic())
            if topic == pairs:
                batch.pairs += _known(pair_of(message))
            elif topic == outcomes:
                batch.outcomes += _known(outcome_of(message))
            elif topic == trainings:
                batch.steps += _known(step_of(message))
            else:
                batch.letters.append(letter_of(message))
            batch.positions[topic, int(message.partition() or 0)] = int(message.offset() or 0) + 1
        return batch


def _known(found: T | None) -> Iterable[T]:
    return [] if found is None else [found]


def _records(messages: Iterable[Message], unread: set[tuple[str, int]]) -> Iterator[Message]:
    """Raises: PairstreamError when a partition cannot be read on."""
    for message in messages:
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:
            unread.discard((str(message.topic()), int(message.partition() or 0)))
        else:
            raise PairstreamError(f"the topics cannot be read on: {error.str()}")
