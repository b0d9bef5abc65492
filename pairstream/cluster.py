"""What the commands ask and tell the cluster: is it there, are the topics, are they as wanted."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from confluent_kafka import (
    ConsumerGroupState,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from pairstream.ends import bounded_consumer, true_ranges
from pairstream.refusals import Refusals, check_files
from schemas import clients
from schemas.errors import InvalidSettings, PairstreamError
from schemas.retries import retried
from schemas.settings import KafkaSettings, TopicSettings
from schemas.source import Source
from schemas.topics import GARBLE_REQUESTS, RUN_EVENTS, STATE_CHANGELOG_CONFIG, TOPICS, Names
from streams.state import MIGRATE

ANSWER_SECONDS = 10.0

# How long records are kept is for whoever runs it to say: docs/privacy.md.
MAY_DIFFER = frozenset({"retention.ms"})

# By partition: its first offset and its end.
Ranges = dict[int, tuple[int, int]]


class Cluster:
    """An admin client whose errors say what to do."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Raises: InvalidSettings when no client can be made of the settings."""
        self._settings = settings
        check_files(settings)
        self._refusals = Refusals(settings)
        config = clients.connection(settings) | {"error_cb": self._refusals.note, "log_level": 0}
        try:
            self.admin = AdminClient(config)
        except KafkaException as error:
            raise InvalidSettings(
                f"no connection can be made of the settings ({error.args[0].str()}): check those "
                "that begin with PAIRSTREAM_SASL_ and PAIRSTREAM_SSL_"
            ) from error

    def partitions(self, *, wait_seconds: float = ANSWER_SECONDS) -> dict[str, int]:
        """Every topic's count of partitions.

        Raises: PairstreamError when no broker answers within the time, or refuses us.
        """
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                topics = self.admin.list_topics(timeout=1.0).topics
            except KafkaException as error:
                self.admin.poll(0)  # tells `_refusals` what went wrong
                if self._refusals.told is not None:
                    raise PairstreamError(self._refusals.told) from error
                if time.monotonic() > deadline:
                    raise PairstreamError(self._refusals.silence) from error
            else:
                return {name: len(topic.partitions) for name, topic in topics.items()}

    def brokers(self) -> list[str]:
        """The addresses that brokers give of themselves. Raises: PairstreamError."""
        found = retried(
            lambda: self.admin.list_topics(timeout=1.0).brokers,
            failure="the brokers do not tell which they are",
        )
        return sorted(f"{broker.host}:{broker.port}" for broker in found.values())

    def require(self, *names: str, wait_seconds: float = ANSWER_SECONDS) -> dict[str, int]:
        """Counts of partitions of topics that must be there. Raises: PairstreamError."""
        found = self.partitions(wait_seconds=wait_seconds)
        missing = [name for name in names if not found.get(name)]
        if missing:
            self.check_allowed(missing)
            raise PairstreamError(
                f"missing topics: {', '.join(missing)}; run `pairstream topics apply`"
            )
        return {name: found[name] for name in names}

    def check_allowed(self, names: list[str]) -> None:
        """A broker lists no topic that we may not see. Raises: PairstreamError for such."""
        hidden = []
        for name, told in self.admin.describe_topics(TopicCollection(names)).items():
            try:
                told.result()
            except KafkaException as error:
                if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    hidden.append(name)
        if hidden:
            raise PairstreamError(
                f"the brokers do not let us see {', '.join(hidden)}: `pairstream topics acls` "
                "prints what each process must be allowed"
            )

    def describe(self, *topics: str) -> list[Source]:
        """Topics with their identities, in this order.

        Raises: PairstreamError when one is missing or the brokers do not tell it.
        """
        partitions = self.require(*topics)

        def ask() -> list[Source]:
            told = self.admin.describe_topics(TopicCollection(list(topics)))
            cluster_id = str(self.admin.describe_cluster().result().cluster_id)
            ids = {name: str(each.result().topic_id) for name, each in told.items()}
            return [Source(cluster_id, name, ids[name], partitions[name]) for name in topics]

        return retried(ask, failure=f"the brokers do not tell what {', '.join(topics)} is")

    def create(self, topics: list[NewTopic]) -> None:
        """Raises: PairstreamError with the broker's reason."""
        for name, future in (self.admin.create_topics(topics) if topics else {}).items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise PairstreamError(f"{name}: {error.args[0].str()}") from error

    def configs(self, names: list[str]) -> dict[str, dict[str, str]]:
        """Settings of topics, as far as the broker tells them."""
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        found: dict[str, dict[str, str]] = {}
        if not resources:
            return found
        for resource, future in self.admin.describe_configs(resources).items():
            try:
                entries: dict[str, Any] = future.result()
            except KafkaException:
                continue
            found[resource.name] = {name: str(entry.value) for name, entry in entries.items()}
        return found

    def ranges(self, topics: Mapping[str, int]) -> dict[str, Ranges]:
        """First offset and end of every partition, by topic; the argument is what `require` gives.

        Raises: PairstreamError when the brokers do not tell them.
        """
        asked = [TopicPartition(name, p) for name, count in topics.items() for p in range(count)]
        lows = self._offsets(asked, OffsetSpec.earliest())
        highs = self._offsets(asked, OffsetSpec.latest())
        consumer = bounded_consumer(self._settings)
        try:
            found = true_ranges(consumer, {place: (lows[place], highs[place]) for place in lows})
        finally:
            consumer.close()
        return {name: {p: found[name, p] for p in range(count)} for name, count in topics.items()}

    def _offsets(
        self, partitions: list[TopicPartition], spec: OffsetSpec
    ) -> dict[tuple[str, int], int]:
        def ask() -> dict[tuple[str, int], int]:
            answers = self.admin.list_offsets(dict.fromkeys(partitions, spec))
            return {(p.topic, p.partition): each.result().offset for p, each in answers.items()}

        failure = "the brokers do not tell where the topics begin and end"
        return retried(ask, failure=failure) if partitions else {}

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """A group's committed offsets by topic and partition, as far as it has any.

        Raises: PairstreamError when the brokers do not tell them.
        """
        names, there = Names(self._settings.topic_prefix), self.partitions()
        asked = [
            TopicPartition(name, partition)
            for name in map(names.topic, TOPICS)
            for partition in range(there.get(name, 0))
        ]
        # Not by the admin client: librdkafka 2.16 crashes where the group's coordinator is new.
        consumer = bounded_consumer(self._settings, group=group)
        try:
            answers = retried(
                lambda: consumer.committed(asked, timeout=ANSWER_SECONDS),
                failure=f"the brokers do not tell what {group} has committed",
            )
        finally:
            consumer.close()
        return {(each.topic, each.partition): each.offset for each in answers if each.offset >= 0}

    def members(self, group: str) -> int | None:
        """How many processes are in the group now; None where the broker does not say.

        Raises: PairstreamError when the brokers do not tell it.
        """
        answer = retried(
            lambda: self.admin.describe_consumer_groups([group])[group].result(),
            failure=f"the brokers tell nothing of the group {group}",
        )
        # The embedded broker calls every group stable, and names no member.
        is_told = answer.members or answer.state != ConsumerGroupState.STABLE
        return len(answer.members) if is_told else None


def describe_worker_source(cluster: Cluster, names: Names) -> bytes:
    """The topics that a worker reads: equal bytes for the same ones. Raises: PairstreamError."""
    return msgspec.json.encode(
        cluster.describe(names.topic(RUN_EVENTS), names.topic(GARBLE_REQUESTS))
    )


def lag(ranges: Ranges, positions: Mapping[int, int]) -> int:
    """Records between the positions and the ends; without a position, all that is there. Pure."""
    return sum(
        max(0, high - max(low, positions.get(partition, low)))
        for partition, (low, high) in ranges.items()
    )


@dataclass(frozen=True)
class TopicState:
    """What was found or done; `differs` says what is not as wanted, and `chosen` what is otherwise
    than by default and may be.
    """

    name: str
    created: bool = False
    missing: bool = False
    differs: list[str] = field(default_factory=list)
    chosen: list[str] = field(default_factory=list)


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
    states = list(compare_topics(cluster, settings))
    missing = {state.name for state in states if state.missing}
    cluster.create([topic for topic in wanted_topics(settings) if topic.topic in missing])
    for state in states:
        yield replace(state, created=state.missing, missing=False)


def compare_topics(cluster: Cluster, settings: TopicSettings) -> Iterator[TopicState]:
    """Hold the topics that are there against those that are wanted; change nothing."""
    there = cluster.partitions()
    wanted = wanted_topics(settings)
    configs = cluster.configs([topic.topic for topic in wanted if topic.topic in there])
    for topic in wanted:
        name = topic.topic
        if name not in there:
            yield TopicState(name, missing=True)
            continue
        differs: list[str] = []
        chosen: list[str] = []
        if there[name] != topic.num_partitions:
            differs.append(f"partitions are {there[name]}, not {topic.num_partitions}")
        for key, value in topic.config.items():
            found = configs.get(name, {}).get(key)
            if found is not None and found != value:
                told = chosen if key in MAY_DIFFER else differs
                told.append(f"{key} is {found}, not {value}")
        yield TopicState(name, differs=differs, chosen=chosen)


def worker_partitions(cluster: Cluster, names: Names, required: list[str]) -> int:
    """The events' partitions, which the state must have been laid out for.

    Raises: PairstreamError when topics are missing or their partitions differ.
    """
    counts = cluster.require(*required, names.state_changelog)
    events = counts[required[0]]
    for name in (required[1], names.state_changelog):
        if counts[name] != events:
            raise PairstreamError(
                f"{required[0]} has {events} partitions and {name} has {counts[name]}: {MIGRATE}"
            )
    return events
