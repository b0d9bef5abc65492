"""What the client's tests share: prompts, a publisher that keeps its events, a topic to read."""

import subprocess
import time
import uuid
from collections.abc import Callable, Iterator

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from pairstream_client import Prompts, Publisher
from pairstream_client.events import Event
from schemas.events import Event as ContractEvent
from schemas.events import parse_event
from schemas.topics import RUN_EVENTS, Names

NO_BROKER = "127.0.0.1:1"
PARTITIONS = 4
READ_SECONDS = 60.0

PROMPTS: Prompts = {
    "system_plist": [{"role": "system", "content": "You free disk space."}],
    "basic_env_plist": [{"role": "user", "content": "Debian 12, one scratch folder."}],
    "special_egc_req_plist": [{"role": "user", "content": "Print what you need to know."}],
    "strat_code_req_plist": [{"role": "user", "content": "Plan, then write the program."}],
}

RunScript = Callable[..., subprocess.CompletedProcess[str]]


class KeepingPublisher(Publisher):
    """Keeps what it would send."""

    def __init__(self) -> None:
        super().__init__(NO_BROKER)
        self.sent: list[Event] = []

    def send(self, event: Event) -> None:
        self.sent.append(event)

    @property
    def events(self) -> list[ContractEvent]:
        """What was sent, as the service reads it."""
        parsed = [parse_event(event.value) for event in self.sent]
        assert None not in parsed
        return [event for event in parsed if event is not None]


class EventsTopic:
    """The topic of run events of one test, on the embedded broker."""

    def __init__(self, servers: str, prefix: str) -> None:
        self.servers = servers
        self.prefix = prefix
        self.name = Names(prefix).topic(RUN_EVENTS)
        admin = AdminClient({"bootstrap.servers": servers})
        admin.create_topics([NewTopic(self.name, PARTITIONS, 1)])[self.name].result()

    def environment(self) -> dict[str, str]:
        return {
            "PAIRSTREAM_BOOTSTRAP_SERVERS": self.servers,
            "PAIRSTREAM_TOPIC_PREFIX": self.prefix,
        }

    def read(self) -> list[Message]:
        """All records that are there, in the order of each partition.

        A mark is written to each partition and read up to, for want of true end offsets: the
        embedded broker's fall short by the length of the last batch.
        """
        mark = uuid.uuid4().bytes
        producer = Producer({"bootstrap.servers": self.servers})
        for number in range(PARTITIONS):
            producer.produce(self.name, mark, partition=number)
        assert producer.flush(READ_SECONDS) == 0
        records = [record for n in range(PARTITIONS) for record in self._read_to(mark, n)]
        return [record for record in records if record.key() is not None]

    def _read_to(self, mark: bytes, partition: int) -> Iterator[Message]:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": self.prefix})
        consumer.assign([TopicPartition(self.name, partition, 0)])
        deadline = time.monotonic() + READ_SECONDS
        while (record := consumer.poll(1.0)) is None or record.value() != mark:
            assert time.monotonic() < deadline
            if record is not None and record.error() is None:
                yield record
        consumer.close()

    def types_by_run(self) -> dict[str, list[str]]:
        """Each run's types of events in the order of the log."""
        runs: dict[str, list[str]] = {}
        for record in self.read():
            assert parse_event(record.value()) is not None
            runs.setdefault(record.key().decode(), []).append(header(record, "ce_type"))
        return runs


def header(record: Message, name: str) -> str:
    return str(dict(record.headers() or [])[name], "utf-8")
