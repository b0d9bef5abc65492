"""Keeps the index up with topics and files: a thread that reads on for ever.

Whatever stands in the way is told on the pages, waited for and tried again.
"""

import sqlite3
import threading
import time
from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from types import TracebackType
from typing import Self

import structlog
from confluent_kafka import Consumer, KafkaError, TopicPartition

from pairstream.cluster import Cluster
from pairstream.ui.batches import batch_of, without_ends
from pairstream.ui.index_file import IndexFile
from pairstream.ui.index_rows import pairs_in_segment
from pairstream.ui.index_tables import FILE, is_damage
from pairstream.ui.index_writer import Batch
from pairstream.ui.troubles import said, slip
from schemas import clients
from schemas.errors import PairstreamError
from schemas.settings import DataSettings
from schemas.source import Source
from schemas.topics import CONSUMED, PAIRS, RUN_OUTCOMES, TRAININGS, Names
from trainer.layout import DataDir
from trainer.segments import list_segments

log = structlog.get_logger()

RECORDS_A_BATCH = 5000
READ_SECONDS = 0.25
ANSWER_SECONDS = 2.0
PAUSE_SECONDS = 2.0

# How often it asks whether the topics are still those that it reads.
SOURCE_SECONDS = 5.0


class Follower:
    """A context manager; `problems` say, each in one line, what it waits for; `is_level`: it has
    seen every topic's end.
    """

    def __init__(self, settings: DataSettings) -> None:
        """Opens the index. Raises: PairstreamError where there is none and none can be made."""
        self.is_level = False
        self._problems: dict[str, str | None] = {}
        self._looked_at = -PAUSE_SECONDS
        self._asked_at = 0.0
        self._all_down = threading.Event()
        self._settings = settings
        self._names = Names(settings.topic_prefix)
        self._data = DataDir(settings.data_dir)
        try:
            self._index = IndexFile(settings.data_dir / FILE)
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
        self._index.close()

    @property
    def topics(self) -> list[str]:
        """All that it reads."""
        rows = map(self._names.topic, (PAIRS, RUN_OUTCOMES, TRAININGS))
        return [*rows, *map(self._names.dead_letters, CONSUMED)]

    @property
    def problems(self) -> list[str]:
        return [problem for problem in list(self._problems.values()) if problem is not None]

    def make_index_anew(self) -> None:
        """Somebody found that it is damaged."""
        self._index.make_anew()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                if self._index.mend():
                    self._begin_anew()
                self._take_segments()
                self._follow()
            except Exception as error:  # noqa: BLE001 - its end would look as if all were well
                self.is_level = False
                self._tell("topics", error)
                self._stop.wait(PAUSE_SECONDS)

    def _tell(self, what: str, error: Exception | None) -> None:
        problem = None if error is None else said(error)
        if error is not None and is_damage(error):
            self._index.make_anew()
        if error is not None and problem != self._problems.get(what):
            log.warning("index_waits", what=what, why=problem, exc_info=slip(error))
        self._problems[what] = problem

    # --- Files -----------------------------------------------------------------------------------

    def _begin_anew(self) -> None:
        self.is_level = False
        self._looked_at = -PAUSE_SECONDS

    def _take_segments(self) -> None:
        """Those that are new; what is wrong with them holds up no topic."""
        if time.monotonic() - self._looked_at < PAUSE_SECONDS:
            return
        try:
            done = self._index.writer.segments()
            for segment in list_segments(self._data.segments):
                if str(segment.path) not in done and not self._stop.is_set():
                    self._take_segment(str(segment.path))
        except Exception as error:  # noqa: BLE001 - it holds up no topic
            self._tell("files", error)
        else:
            self._tell("files", None)
        self._looked_at = time.monotonic()

    def _take_segment(self, path: str) -> None:
        with (self._data.segments / path).open("rb") as lines:
            pairs = pairs_in_segment(path, lines)
            while part := list(islice(pairs, RECORDS_A_BATCH)):
                self._index.writer.take(Batch(pairs=part))
        self._index.writer.take(Batch(segments=[path]))

    # --- Topics ----------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Until the stop, or until index or topics are others.

        Raises: PairstreamError when the brokers cannot be read.
        """
        cluster = Cluster(self._settings)
        cluster.require(*self.topics, wait_seconds=ANSWER_SECONDS)
        sources = self._check_source(cluster)
        # What retention has taken is no loss here: it starts with what is kept.
        config = clients.reader(self._settings, group=self._names.reader_group)
        ours = {"auto.offset.reset": "earliest", "log_level": 0, "error_cb": self._on_error}
        self._all_down.clear()
        with closing(Consumer(config | ours)) as consumer:
            positions = self._index.writer.positions()
            places = [(each.topic, p) for each in sources for p in range(each.partitions)]
            consumer.assign([TopicPartition(*each, positions.get(each, 0)) for each in places])
            self._read(consumer, cluster, set(places))

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._all_down.set()

    def _check_source(self, cluster: Cluster) -> list[Source]:
        """Start anew where the topics are others than those that were read so far."""
        sources = cluster.describe(*self.topics)
        known = self._index.writer.source()
        if known is not None and _ids(known) != _ids(sources):
            log.warning("index_made_anew", why="the topics are others than before")
            self._index.writer.clear()
            self._begin_anew()
            self._take_segments()
        self._index.writer.set_source(sources)
        return sources

    def _has_other_topics(self, cluster: Cluster) -> bool:
        """Now and then: whether they were made anew, or have more partitions."""
        if time.monotonic() - self._asked_at < SOURCE_SECONDS:
            return False
        self._asked_at = time.monotonic()
        return cluster.describe(*self.topics) != self._index.writer.source()

    def _read(self, consumer: Consumer, cluster: Cluster, unread: set[tuple[str, int]]) -> None:
        self._asked_at = time.monotonic()
        while not self._stop.is_set() and self._index.is_well():
            messages = consumer.consume(RECORDS_A_BATCH, timeout=READ_SECONDS)
            records = list(without_ends(messages, unread))
            if records:
                self._index.writer.take(batch_of(records, self._names))
            if records or not unread:
                self._tell("topics", None)
            self.is_level = not unread
            self._take_segments()
            if self._all_down.is_set():
                raise PairstreamError(
                    f"no broker answers at {self._settings.bootstrap_servers} any more"
                )
            if self._has_other_topics(cluster):
                return


def _ids(sources: Iterable[Source]) -> list[tuple[str, str, str]]:
    """Of topics; one that has more partitions is the same."""
    return [(each.cluster_id, each.topic, each.topic_id) for each in sources]
