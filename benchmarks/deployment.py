"""The topics of one prefix: made, filled, watched and removed."""

import json
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.load import Event
from benchmarks.processes import PAIRSTREAM, Process, output_of, running
from pairstream.cluster import Cluster, apply_topics, wanted_topics
from schemas import clients
from schemas.retries import retried
from schemas.settings import TopicSettings
from schemas.topics import GARBLE_REQUESTS, RUN_EVENTS, RUN_OUTCOMES, Names, Topic

PARTITIONS = 4
IDLE_LOOK_SECONDS = 0.1
ANSWER_SECONDS = 10.0
ACKNOWLEDGED_SECONDS = 300.0

TAKEN_OVER = "partitions_taken_over"


@dataclass(frozen=True)
class Fed:
    """What was put into a topic."""

    events: int
    runs: int
    bytes: int


class Deployment:
    """Remove it when it is no more needed: what lies in the page cache slows down all else."""

    def __init__(
        self, servers: str, prefix: str, folder: Path, *, partitions: int = PARTITIONS
    ) -> None:
        self.settings = TopicSettings(
            bootstrap_servers=servers, topic_prefix=prefix, partitions=partitions
        )
        self.names = Names(prefix)
        self.folder = folder / prefix
        self.folder.mkdir(parents=True)
        self.data = self.folder / "data"
        self._logs = 0
        list(apply_topics(Cluster(self.settings), self.settings))

    @property
    def environment(self) -> dict[str, str]:
        """Settings of every command that works on it."""
        return {
            "PAIRSTREAM_BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "PAIRSTREAM_TOPIC_PREFIX": self.settings.topic_prefix,
            "PAIRSTREAM_DATA_DIR": str(self.data),
            "PAIRSTREAM_LAUNCHER": "none",
        }

    def fill(self, records: Iterable[Event], topic: Topic = RUN_EVENTS) -> Fed:
        """Produce, and wait for every acknowledgement."""
        producer = Producer(clients.producer(self.settings))
        name = self.names.topic(topic)
        sent, size, runs = 0, 0, set()
        for key, value in records:
            while not _produce(producer, name, key, value):
                producer.poll(0.1)
            sent += 1
            size += len(value)
            runs.add(key)
        if left := producer.flush(ACKNOWLEDGED_SECONDS):
            raise RuntimeError(f"{left} records of the load were not acknowledged")
        return Fed(sent, len(runs), size)

    # --- Processes -------------------------------------------------------------------------------

    def worker(self, *, cores: str = "", **settings: str) -> AbstractContextManager[Process]:
        return self.running((*PAIRSTREAM, "worker"), cores=cores, **settings)

    def running(
        self, command: tuple[str, ...], *, cores: str = "", **settings: str
    ) -> AbstractContextManager[Process]:
        """A command on this deployment, with settings by their names."""
        self._logs += 1
        given = {f"PAIRSTREAM_{name.upper()}": value for name, value in settings.items()}
        log = self.folder / f"{self._logs}.log"
        return running(command, {**self.environment, **given}, log, cores=cores)

    def verified(self) -> bool:
        """What `pairstream verify` says of it, when nothing runs any more."""
        told = output_of((*PAIRSTREAM, "verify", "--json"), self.environment, check=False)
        if not told.startswith("{"):
            raise RuntimeError("`pairstream verify` did not come to a judgement")
        return bool(json.loads(told)["holds"])

    # --- Topics ----------------------------------------------------------------------------------

    def watch(self, topic: Topic = RUN_OUTCOMES) -> "Watch":
        return Watch(self, topic)

    def count(self, topic: Topic) -> int:
        """Records that stand in a topic now."""
        with closing(self.watch(topic)) as watch:
            return watch.count()

    def await_idle(self, worker: Process) -> None:
        """Wait until the workers, of which this is one, have committed all that there is."""
        with ExitStack() as stack:
            watches = [
                stack.enter_context(closing(Watch(self, topic, group=self.names.worker_app)))
                for topic in (RUN_EVENTS, GARBLE_REQUESTS)
            ]
            worker.wait_until(
                lambda: all(watch.lag() == 0 for watch in watches),
                "everything was committed",
                look_seconds=IDLE_LOOK_SECONDS,
            )

    def remove(self) -> None:
        """Delete its topics."""
        admin = AdminClient(clients.connection(self.settings))
        wanted = [topic.topic for topic in wanted_topics(self.settings)]
        for deleted in admin.delete_topics(wanted, operation_timeout=30).values():
            deleted.result()


class Watch:
    """Counts a topic's records by its ends, and those that a group has not committed."""

    def __init__(self, deployment: Deployment, topic: Topic, *, group: str = "watch") -> None:
        self._consumer = Consumer(clients.reader(deployment.settings, group=group))
        name = deployment.names.topic(topic)
        self._places = [TopicPartition(name, p) for p in range(deployment.settings.partitions)]

    def count(self) -> int:
        return sum(self._end(place) for place in self._places)

    def lag(self) -> int:
        """Of the group; it is not joined."""
        committed = retried(
            lambda: self._consumer.committed(self._places, timeout=ANSWER_SECONDS),
            failure="the broker does not tell what is committed",
        )
        done: int = sum(max(0, place.offset) for place in committed)
        return self.count() - done

    def _end(self, place: TopicPartition) -> int:
        _, end = retried(
            lambda: self._consumer.get_watermark_offsets(place, timeout=ANSWER_SECONDS),
            failure="the broker does not tell where a topic ends",
        )
        return cast("int", end)

    def reached_at(self, count: int, process: Process) -> float:
        """Seconds since 1970 at which so many records stood there; waits for them.

        Raises: RuntimeError when the process ends before, or it takes too long.
        """
        process.wait_until(lambda: self.count() >= count, f"{count} records stood in the topic")
        return time.time()

    def close(self) -> None:
        self._consumer.close()


def _produce(producer: Producer, topic: str, key: bytes, value: bytes) -> bool:
    """False while the queue is full."""
    try:
        producer.produce(topic, value, key)
    except BufferError:
        return False
    return True
