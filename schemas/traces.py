"""What worker and trainer tell of their work as traces; who takes these in is not known here.

Names: OpenTelemetry's semantic conventions for messaging and Kafka (1.37), and `pairstream.*` for
what they have no word for. No name and no value holds a text of agents, or an id that they gave.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

# What a receiver knows us by; programs of others that we start must not.
SECRET_VARIABLES = frozenset({"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"})

Attributes = Mapping[str, str | int]

Kind = Literal["internal", "consumer", "producer", "client"]


class Trace(Protocol):
    """One piece of work that has begun. Times are nanoseconds since 1970; no method ever waits.

    `error` is the kind of what went wrong, in one word.
    """

    def part(
        self,
        name: str,
        begun_ns: int,
        ended_ns: int,
        attributes: Attributes,
        *,
        kind: Kind = "internal",
    ) -> None:
        """A part of the work that is done."""

    def end(self, ended_ns: int, attributes: Attributes, *, error: str | None = None) -> None:
        """The whole is done; `attributes` are added to those of its beginning."""


class Begin(Protocol):
    """Begins traces, in any thread; None where this one is not sampled."""

    def __call__(
        self, name: str, begun_ns: int, attributes: Attributes, *, kind: Kind = "internal"
    ) -> Trace | None: ...


def messaging(
    operation: Literal["process", "send", "commit"], topic: str | None = None, **more: str | int
) -> dict[str, str | int]:
    """The attributes that a span of Kafka has; `more` by names of `_MORE`."""
    attributes: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": "settle" if operation == "commit" else operation,
    }
    if topic is not None:
        attributes["messaging.destination.name"] = topic
    return attributes | {_MORE[name]: value for name, value in more.items()}


_MORE = {
    "partition": "messaging.destination.partition.id",
    "group": "messaging.consumer.group.name",
    "count": "messaging.batch.message_count",
    "offset": "messaging.kafka.offset",
}
