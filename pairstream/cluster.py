"""What the commands ask and tell the cluster: is it there, are the topics, are they as wanted."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from schemas.clients import connection
from schemas.errors import PairstreamError
from schemas.settings import KafkaSettings, TopicSettings
from schemas.topics import STATE_CHANGELOG_CONFIG, TOPICS, Names
from trainer.source import Source

ANSWER_SECONDS = 10.0


class Cluster:
    """An admin client whose errors say what to do."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._refusal: str | None = None
        self._admin = AdminClient(
            connection(settings) | {"error_cb": self._on_error, "log_level": 0}
        )

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):
            self._refusal = error.str()

    def partitions(self, *, wait_seconds: float = ANSWER_SECONDS) -> dict[str, int]:
        """Every topic's count of partitions.

        Raises: PairstreamError when no broker answers within the time, or refuses us.
        """
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                topics = self._admin.list_topics(timeout=1.0).topics
            except KafkaException as error:
                if self._refusal is not None:
                    raise PairstreamError(
                        f"the broker refused us: {self._refusal}; check PAIRSTREAM_SASL_USERNAME, "
                        "PAIRSTREAM_SASL_PASSWORD and PAIRSTREAM_SASL_MECHANISM"
                    ) from error
                if time.monotonic() > deadline:
                    raise PairstreamError(
                        f"no broker answers at {self._settings.bootstrap_servers}: is it running? "
                        "`pairstream broker` starts one for development"
                    ) from error
            else:
                return {name: len(topic.partitions) for name, topic in topics.items()}

    def require(self, *names: str) -> dict[str, int]:
        """Counts of partitions of topics that must be there. Raises: PairstreamError."""
        found = self.partitions()
        missing = [name for name in names if not found.get(name)]
        if missing:
            raise PairstreamError(
                f"missing topics: {', '.join(missing)}; run `pairstream topics apply`"
            )
        return {name: found[name] for name in names}

    def describe(self, topic: str) -> Source:
        """A topic with its identity. Raises: PairstreamError when it is missing."""
        partitions = self.require(topic)[topic]
        described = self._admin.describe_topics(TopicCollection([topic]))[topic].result()
        cluster = self._admin.describe_cluster().result()
        return Source(str(cluster.cluster_id), topic, str(described.topic_id), partitions)

    def create(self, topics: list[NewTopic]) -> None:
        """Raises: PairstreamError with the broker's reason."""
        for name, future in (self._admin.create_topics(topics) if topics else {}).items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise PairstreamError(f"{name}: {error.args[0].str()}") from error

    def configs(self, names: list[str]) -> dict[str, dict[str, str]]:
        """Settings of topics, as far as the broker tells them."""
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        found: dict[str, dict[str, str]] = {}
        for resource, future in self._admin.describe_configs(resources).items():
            try:
                entries: dict[str, Any] = future.result()
            except KafkaException:
                continue
            found[resource.name] = {name: str(entry.value) for name, entry in entries.items()}
        return found

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """A group's committed offsets by topic and partition; empty where it is unknown."""
        from confluent_kafka import ConsumerGroupTopicPartitions

        request = [ConsumerGroupTopicPartitions(group)]
        try:
            answer = self._admin.list_consumer_group_offsets(request)[group].result()
        except KafkaException:
            return {}
        return {(p.topic, p.partition): p.offset for p in answer.topic_partitions if p.offset >= 0}


@dataclass(frozen=True)
class TopicState:
    """What `topics apply` found or did; `differs` says what is not as wanted."""

    name: str
    created: bool
    differs: list[str]


def wanted_topics(settings: TopicSettings) -> list[NewTopic]:
    """All topics of the contract and the worker's changelog. Pure."""
    names = Names(settings.topic_prefix)
    wanted = {names.topic(topic): topic.config for topic in TOPICS}
    wanted[names.state_changelog] = STATE_CHANGELOG_CONFIG
    return [
        NewTopic(name, settings.partitions, settings.replication_factor, config=config)
        for name, config in wanted.items()
    ]


def apply_topics(cluster: Cluster, settings: TopicSettings) -> Iterator[TopicState]:
    """Create what is missing; say what differs, and change nothing that is there."""
    there = cluster.partitions()
    wanted = wanted_topics(settings)
    missing = [topic for topic in wanted if topic.topic not in there]
    cluster.create(missing)
    configs = cluster.configs([topic.topic for topic in wanted if topic.topic in there])
    for topic in wanted:
        name = topic.topic
        if name not in there:
            yield TopicState(name, True, [])
            continue
        differs = []
        if there[name] != topic.num_partitions:
            differs.append(f"partitions are {there[name]}, not {topic.num_partitions}")
        for key, value in topic.config.items():
            found = configs.get(name, {}).get(key)
            if found is not None and found != value:
                differs.append(f"{key} is {found}, not {value}")
        yield TopicState(name, False, differs)


def worker_partitions(cluster: Cluster, names: Names, required: list[str]) -> int:
    """The events' partitions, which the state must have been laid out for.

    Raises: PairstreamError when topics are missing or their partitions differ.
    """
    counts = cluster.require(*required, names.state_changelog)
    events = counts[required[0]]
    for name in (required[1], names.state_changelog):
        if counts[name] != events:
            raise PairstreamError(
                f"{required[0]} has {events} partitions and {name} has {counts[name]}: a run's "
                "events would part from its state; use a new PAIRSTREAM_TOPIC_PREFIX with the "
                "wanted PAIRSTREAM_PARTITIONS, and replay the events into it"
            )
    return events
