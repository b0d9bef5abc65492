"""Workers and trainers as processes, and what stands in the topics."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import orjson
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from pairstream.cluster import Cluster, wanted_topics
from pairstream.reader import TopicReader
from schemas import clients
from schemas.dead_letters import Header
from schemas.settings import TopicSettings
from schemas.topics import GARBLE_REQUESTS, RUN_EVENTS, Names, Topic

WAIT_SECONDS = 90.0
LOOK_SECONDS = 0.05

# What a worker says when it begins to work on its partitions.
TAKEN_OVER = "partitions_taken_over"

# Key and value.
Record = tuple[bytes | None, bytes | None]


class Deployment:
    """The topics of one prefix, and processes that work on them."""

    def __init__(self, servers: str, prefix: str, folder: Path, *, partitions: int = 4) -> None:
        self.settings = TopicSettings(
            bootstrap_servers=servers, topic_prefix=prefix, partitions=partitions
        )
        self.names = Names(prefix)
        self.folder = folder
        self.environment = {
            "PAIRSTREAM_BOOTSTRAP_SERVERS": servers,
            "PAIRSTREAM_TOPIC_PREFIX": prefix,
            "PAIRSTREAM_PARTITIONS": str(partitions),
            "PAIRSTREAM_DATA_DIR": str(folder / "data"),
            "PAIRSTREAM_SESSION_TIMEOUT_SECONDS": "6",
        }
        self._count = 0

    @contextmanager
    def running(self, *command: str, **settings: str) -> Iterator["Service"]:
        """A command that runs within the block; killed at its end unless it ended before."""
        self._count += 1
        log = self.folder / f"{self._count}-{command[0]}.log"
        extra = {f"PAIRSTREAM_{name.upper()}": value for name, value in settings.items()}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pairstream", *command],
                env={**os.environ, **self.environment, **extra},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        service = Service(process, log)
        try:
            yield service
        finally:
            service.kill()

    def send(
        self,
        records: list[Record],
        topic: Topic = RUN_EVENTS,
        *,
        properties: clients.ClientConfig | None = None,
        timestamp_ms: int = 0,
        headers: Sequence[Header] = (),
    ) -> None:
        """Produce and wait for every acknowledgement."""
        refused = self.offer(
            records, topic, properties=properties, timestamp_ms=timestamp_ms, headers=headers
        )
        assert refused == []

    def offer(
        self,
        records: list[Record],
        topic: Topic = RUN_EVENTS,
        *,
        properties: clients.ClientConfig | None = None,
        timestamp_ms: int = 0,
        headers: Sequence[Header] = (),
    ) -> list[str]:
        """Produce and wait for every answer; returns the names of the errors."""
        refused: list[str] = []

        def on_delivery(error: KafkaError | None, _: Any) -> None:
            if error is not None:
                refused.append(error.name())

        producer = Producer(clients.producer(self.settings) | (properties or {}))
        for key, value in records:
            producer.produce(
                self.names.topic(topic), value, key,
                on_delivery=on_delivery, timestamp=timestamp_ms, headers=cast("Any", list(headers)),
            )  # fmt: skip
        assert producer.flush(WAIT_SECONDS) == 0
        return refused

    def messages(self, name: str) -> list[Any]:
        """Every record of a topic, by partition and offset."""
        reader = TopicReader(self.settings, name, self.settings.partitions)
        return sorted(reader.read(), key=lambda record: (record.partition(), record.offset()))

    def rows(self, topic: Topic) -> list[dict[str, Any]]:
        return [orjson.loads(record.value()) for record in self.messages(self.names.topic(topic))]

    def dead_letters(self, topic: Topic) -> list[Any]:
        return self.messages(self.names.dead_letters(topic))

    def pairs_in_datasets(self) -> list[dict[str, Any]]:
        """Every line of the trainer's datasets."""
        files = sorted((self.folder / "data" / "datasets").glob("*/*.jsonl"))
        return [orjson.loads(line) for file in files for line in file.read_bytes().splitlines()]

    def widen(self, *names: str, to: int) -> None:
        """Give topics more partitions."""
        admin = AdminClient(clients.connection(self.settings))
        for made in admin.create_partitions([NewPartitions(name, to) for name in names]).values():
            made.result()

    def make_anew(self, topic: str) -> None:
        """Delete a topic, and create it as it was wanted."""
        admin = AdminClient(clients.connection(self.settings))
        [wanted] = (each for each in wanted_topics(self.settings) if each.topic == topic)
        # Not both at once: the one that is sent first need not be the first to be done.
        admin.delete_topics([topic], operation_timeout=WAIT_SECONDS)[topic].result()
        admin.create_topics([wanted], operation_timeout=WAIT_SECONDS)[topic].result()

    def lag(self) -> int:
        """Records of the worker's topics that it has not committed."""
        cluster = Cluster(self.settings)
        committed = cluster.committed(self.names.worker_app)
        behind = 0
        for topic in (RUN_EVENTS, GARBLE_REQUESTS):
            name = self.names.topic(topic)
            for partition, (_, end) in cluster.ranges(cluster.require(name))[name].items():
                behind += end - committed.get((name, partition), 0)
        return behind


def records(events: Iterable[Mapping[str, Any]]) -> list[Record]:
    """Events as agents send them."""
    return [(event["run_id"].encode(), orjson.dumps(event)) for event in events]


class Service:
    """A started command."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL, as a machine that dies."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_SECONDS)

    def await_end(self) -> int:
        return self.process.wait(WAIT_SECONDS)

    def await_log(self, text: str) -> None:
        self.wait_until(lambda: text in self.log, f"{text!r} in the log")

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for a condition; fails with the log when the process ends first."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not holds():
            if self.process.poll() is not None and not holds():
                raise AssertionError(f"ended ({self.process.returncode}) before {what}: {self.log}")
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not come in {WAIT_SECONDS} s: {self.log[-5000:]}")
            time.sleep(LOOK_SECONDS)
