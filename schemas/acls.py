"""What each process must be allowed on a cluster with an authoriser: the least, as data. Pure.

By Kafka's rules READ and WRITE let DESCRIBE pass too, and, since Kafka 3.0, WRITE on a topic lets
an idempotent producer begin (KIP-679). No process of ours uses transactions.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from schemas.topics import (
    CONSUMED,
    GARBLE_REQUESTS,
    PAIRS,
    RUN_EVENTS,
    RUN_OUTCOMES,
    SCORED_ROWS,
    TOPICS,
    TRAININGS,
    Names,
    Topic,
)

Role = Literal["agent", "worker", "trainer", "reader", "bridge", "admin"]
Resource = Literal["topic", "group"]
Operation = Literal["READ", "WRITE", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS"]


@dataclass(frozen=True)
class Need:
    """One resource and what must be allowed on it."""

    resource: Resource
    name: Callable[[Names], str]
    operations: tuple[Operation, ...]
    why: str


def _topic(topic: Topic) -> Callable[[Names], str]:
    return lambda names: names.topic(topic)


def _letters(topic: Topic) -> Callable[[Names], str]:
    return lambda names: names.dead_letters(topic)


def _changelog(names: Names) -> str:
    return names.state_changelog


def _worker_group(names: Names) -> str:
    return names.worker_app


def _trainer_group(names: Names) -> str:
    return names.trainer_group


def _reader_group(names: Names) -> str:
    return names.reader_group


def _bridge_group(names: Names) -> str:
    return names.bridge_group


def _spans(names: Names) -> str:
    return names.spans


def _every(operations: tuple[Operation, ...], why: str) -> tuple[Need, ...]:
    everything = [*map(_topic, TOPICS), _changelog]
    return tuple(Need("topic", name, operations, why) for name in everything)


ROLES: dict[Role, tuple[Need, ...]] = {
    "agent": (Need("topic", _topic(RUN_EVENTS), ("WRITE",), "sends its events"),),
    "worker": (
        Need("topic", _topic(RUN_EVENTS), ("READ", "WRITE"), "reads events, and writes expiries"),
        Need("topic", _topic(GARBLE_REQUESTS), ("READ", "WRITE"), "writes and serves requests"),
        Need("topic", _changelog, ("READ", "WRITE"), "keeps the state of runs"),
        Need("topic", _topic(PAIRS), ("WRITE",), "writes rows"),
        Need("topic", _topic(SCORED_ROWS), ("WRITE",), "writes rows"),
        Need("topic", _topic(RUN_OUTCOMES), ("WRITE",), "writes outcomes"),
        Need("topic", _letters(RUN_EVENTS), ("WRITE",), "puts aside what cannot be read"),
        Need("topic", _letters(GARBLE_REQUESTS), ("WRITE",), "puts aside what cannot be read"),
        Need("group", _worker_group, ("READ",), "shares the partitions, and commits"),
    ),
    "trainer": (
        Need("topic", _topic(PAIRS), ("READ",), "takes in pairs"),
        Need("topic", _letters(PAIRS), ("WRITE",), "puts aside what cannot be read"),
        Need("topic", _topic(TRAININGS), ("WRITE",), "tells of trainings"),
        Need("group", _trainer_group, ("READ",), "commits, for displays of lag"),
    ),
    "reader": (
        *_every(("READ",), "shows and verifies"),
        Need("group", _worker_group, ("DESCRIBE",), "shows lag and members"),
        Need("group", _trainer_group, ("DESCRIBE",), "shows lag"),
        Need("group", _reader_group, ("DESCRIBE",), "reads; librdkafka asks for its coordinator"),
    ),
    "bridge": (
        Need("topic", _topic(RUN_EVENTS), ("WRITE",), "sends its events"),
        Need("topic", _spans, ("CREATE", "READ", "WRITE"), "keeps spans, and maps what is whole"),
        Need("group", _bridge_group, ("READ",), "commits how far it has come"),
    ),
    "admin": (
        *_every(("CREATE", "DESCRIBE_CONFIGS", "READ"), "makes and compares topics"),
        *(
            Need("topic", _topic(topic), ("WRITE",), "re-sends dead letters, migrates")
            for topic in CONSUMED
        ),
        Need("topic", _topic(TRAININGS), ("WRITE",), "promotes and rolls back models"),
        Need("topic", _changelog, ("WRITE",), "rebuilds state"),
        Need("group", _worker_group, ("READ",), "rebuilds state"),
        Need("group", _reader_group, ("DESCRIBE",), "reads; librdkafka asks for its coordinator"),
    ),
}

# Whose commands they are, for people.
COMMANDS: dict[Role, str] = {
    "agent": "the client library, `ingest`, `spool send`",
    "worker": "`worker`",
    "trainer": "`trainer`",
    "reader": "`status`, `explain`, `verify`, `replay`, `dlt list`, `dlt show`, `tail`, "
    "`ui` (promoting models there takes the admin's)",
    "bridge": "`bridge otlp` (with `--from-topic` READ on those topics, not the one of spans)",
    "admin": "`topics apply`, `topics migrate`, `dlt replay`, `models promote`, `forget`, "
    "`worker --rebuild`",
}


@dataclass(frozen=True)
class Rule:
    """One ACL: a principal may do one thing on one resource, by its whole name."""

    principal: str
    resource: Resource
    name: str
    operation: Operation


def rules(role: Role, principal: str, names: Names) -> list[Rule]:
    """The ACLs of one principal, without repetitions, in the order of the table."""
    made = [
        Rule(principal, need.resource, need.name(names), operation)
        for need in ROLES[role]
        for operation in need.operations
    ]
    return list(dict.fromkeys(made))


def missing(wanted: Iterable[Rule], allowed: dict[tuple[Resource, str], set[str]]) -> list[Rule]:
    """The rules that are not fulfilled; of a resource that nothing is known of, none."""
    return [
        rule
        for rule in wanted
        if (found := allowed.get((rule.resource, rule.name))) is not None
        and rule.operation not in found
    ]
