"""The rows that a load must give, and those that stand in the topics, as counts and digests."""

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.deployment import Deployment
from benchmarks.load import Event, Load
from benchmarks.peers.job import ROW_TOPICS, rows_of
from pairstream.reader import TopicReader
from schemas.topics import Topic


@dataclass(frozen=True)
class Rows:
    """Of one topic: how many different ones, and a digest that owes nothing to their order."""

    count: int
    digest: str

    @classmethod
    def of(cls, values: Iterable[bytes]) -> "Rows":
        unique = {hashlib.sha256(value).digest() for value in values}
        return cls(len(unique), hashlib.sha256(b"".join(sorted(unique))).hexdigest())


RowsByTopic = dict[Topic, Rows]


@functools.lru_cache(maxsize=8)
def expected(load: Load) -> RowsByTopic:
    """By the pure functions, without any broker."""
    values: dict[Topic, list[bytes]] = {topic: [] for topic in ROW_TOPICS}
    for events in _by_run(load).values():
        for topic, value in rows_of(events):
            values[topic].append(value)
    return {topic: Rows.of(found) for topic, found in values.items()}


def found(deployment: Deployment) -> RowsByTopic:
    """In the topics of a deployment."""
    partitions = deployment.settings.partitions
    return {
        topic: Rows.of(
            message.value() or b""
            for message in TopicReader(
                deployment.settings, deployment.names.topic(topic), partitions
            ).read()
        )
        for topic in ROW_TOPICS
    }


def _by_run(events: Iterable[Event]) -> dict[bytes, list[bytes]]:
    runs: dict[bytes, list[bytes]] = {}
    for key, value in events:
        runs.setdefault(key, []).append(value)
    return runs
