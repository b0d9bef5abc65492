"""The topics of one test on a broker, and the trainer as users run it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from schemas import clients
from schemas.rows import Pair, encode
from schemas.settings import KafkaSettings
from schemas.topics import PAIRS, Names
from tests.conftest import COMMAND_SECONDS, Pairstream
from tests.waiting import wait_for

PARTITIONS = 3

# A broker that ends before its clients is no news.
QUIET = {"log_level": 0}


class Deployment:
    """Topics with a prefix, and one data directory."""

    def __init__(self, servers: str, prefix: str, root: Path, pairstream: Pairstream) -> None:
        self.settings = KafkaSettings(bootstrap_servers=servers, topic_prefix=prefix)
        self.names = Names(prefix)
        self.pairs_topic = self.names.topic(PAIRS)
        self.root = root
        self.env = {
            "PAIRSTREAM_BOOTSTRAP_SERVERS": servers,
            "PAIRSTREAM_TOPIC_PREFIX": prefix,
            "PAIRSTREAM_PARTITIONS": str(PARTITIONS),
            "PAIRSTREAM_DATA_DIR": str(root),
            "PAIRSTREAM_LAUNCHER": "none",
        }
        self._pairstream = pairstream
        self._producer = Producer(clients.producer(self.settings) | QUIET)
        self.admin = AdminClient({"bootstrap.servers": servers} | QUIET)
        self.command("topics", "apply")

    def command(self, *args: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self._pairstream(*args, env=self.env, check=check)

    def trainer(self, *args: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`pairstream trainer --once`."""
        return self.command("trainer", "--once", *args, check=check)

    def refused(self, *args: object) -> str:
        """The one line of a trainer that does not start."""
        done = self.trainer(*args, check=False)
        assert done.returncode == 1, done.stderr
        [line] = [each for each in done.stderr.splitlines() if each.startswith("pairstream: ")]
        assert "Traceback" not in done.stderr
        return line

    def send(self, pairs: Iterable[Pair]) -> None:
        self.send_records((pair.run_id.encode(), encode(pair)) for pair in pairs)

    def send_records(
        self, records: Iterable[tuple[bytes | None, bytes | None]], **more: object
    ) -> None:
        """Every record is acknowledged when it returns."""
        failed: list[object] = []

        def delivered(error: object, _message: object) -> None:
            if error:
                failed.append(error)

        for key, value in records:
            self._producer.produce(self.pairs_topic, value, key, on_delivery=delivered, **more)
            self._producer.poll(0)
        assert self._producer.flush(60) == 0
        assert not failed

    def read(self, topic: str) -> list[Message]:
        """All records of a topic."""
        return self._read_to_end(topic)[0]

    def ends(self) -> dict[int, int]:
        """Of the pairs' partitions, by reading them: the embedded broker tells no true ones."""
        return self._read_to_end(self.pairs_topic)[1]

    def _read_to_end(self, topic: str) -> tuple[list[Message], dict[int, int]]:
        config = clients.reader(self.settings, group="tests") | QUIET | {"fetch.wait.max.ms": 10}
        consumer = Consumer(config)
        places = [
            TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(PARTITIONS)
        ]
        consumer.assign(places)
        messages: list[Message] = []
        ends: dict[int, int] = {}
        while len(ends) < PARTITIONS:
            for message in consumer.consume(500, timeout=0.2):
                if message.error() is None:
                    messages.append(message)
                else:
                    assert message.error().code() == KafkaError._PARTITION_EOF
                    ends[message.partition()] = message.offset()
        consumer.close()
        return messages, ends

    def covered(self) -> int:
        """Offsets in closed segments."""
        names = (path.name for path in self.root.glob("segments/*/*.jsonl"))
        return sum(int(name[21:41]) - int(name[:20]) + 1 for name in names)


class RunningTrainer:
    """`pairstream trainer` in the background, as a context manager that kills what still runs."""

    def __init__(self, deployment: Deployment, *args: object) -> None:
        self._log = deployment.root.with_name(f"{deployment.root.name}.log")
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pairstream", "trainer", *map(str, args)],
                env={**os.environ, **deployment.env},
                stdout=output,
                stderr=output,
            )

    def __enter__(self) -> Self:
        wait_for(lambda: "trainer_started" in self.log() or self._process.poll() is not None)
        assert self._process.poll() is None, self.log()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def log(self) -> str:
        return self._log.read_text()

    def runs(self) -> bool:
        return self._process.poll() is None

    def end(self, number: signal.Signals) -> int:
        """Its exit code."""
        self._process.send_signal(number)
        return self._process.wait(COMMAND_SECONDS)
