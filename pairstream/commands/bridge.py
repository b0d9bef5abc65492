"""`pairstream bridge`."""

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pairstream.number_range import NumberRange
from pairstream.settings_loader import load, settings_options
from schemas.settings import TopicSettings

if TYPE_CHECKING:
    from pairstream.bridge.mapper import Mapper
    from pairstream.run_mapping import RunMapping

MEBI = 2**20


@click.group("bridge")
def command() -> None:
    """Take in what agents already tell in another protocol, all the time."""


class AddressType(click.ParamType):
    """HOST:PORT."""

    name = "address"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            self.fail(f"{value} is no HOST:PORT such as 127.0.0.1:4318", param, ctx)
        return host.strip("[]"), int(port)


_OPTIONS: list[Callable[[Any], Any]] = [
    click.option("--listen", type=AddressType(), default="127.0.0.1:4318", show_default=True,
                 help="Where to take OTLP over HTTP in. Whoever reaches it can write runs: another "
                 "address than the loopback's belongs behind a proxy that knows its clients."),
    click.option("--from-topic", "topics", multiple=True, metavar="TOPIC",
                 help="Read what the OpenTelemetry Collector's kafka exporter writes (otlp_spans "
                 "and otlp_logs by default there) instead of listening; may be repeated."),
    click.option("--quiet-seconds", type=NumberRange(0.1, 3600), default=5.0,
                 show_default=True,
                 help="A trace is whole when its root is there and nothing came for so long."),
    click.option("--rootless-seconds", type=NumberRange(1, 86400), default=3600.0,
                 show_default=True,
                 help="A trace without a root is taken as it stands after so much silence."),
    click.option("--max-request-bytes", "max_bytes", type=click.IntRange(1024, 64 * MEBI),
                 default=4 * MEBI, show_default=True,
                 help="What a request may have, uncompressed."),
    click.option("--code-tool", "code_tools", multiple=True, metavar="NAME",
                 help="A tool that runs code, besides the known ones; may be repeated."),
    click.option("--score", "score_name", metavar="NAME",
                 help="Which score counts, where several are told."),
]  # fmt: skip


def options(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@command.command("otlp")
@options
@settings_options(TopicSettings)
def otlp(
    listen: tuple[str, int], topics: tuple[str, ...], config_file: Path | None, **flags: Any
) -> None:
    """Spans of agents (OpenTelemetry GenAI or OpenInference) become events of runs.

    Listens for OTLP over HTTP, as exporters and Collectors send it (POST /v1/traces, JSON or
    protobuf, gzip), and answers once Kafka has the spans; or reads topics of the Collector's.
    Of logs (POST /v1/logs) it takes the scores of spans, and metrics not at all.
    A trace is mapped when it is whole, by the rules of docs/formats.md; what cannot be is named.
    The same span twice changes nothing. One bridge for each topic prefix.

    \b
    Examples:
      pairstream bridge otlp
      OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 python my_agent.py
      pairstream bridge otlp --from-topic otlp_spans --from-topic otlp_logs
    """
    from pairstream.addresses import authority
    from pairstream.bridge.book import Waits
    from pairstream.bridge.inbox import Inbox, create_inbox
    from pairstream.bridge.intake import listening
    from pairstream.bridge.mapper import Mapper
    from pairstream.cluster import Cluster
    from pairstream.formats.record import Choices
    from pairstream.run_mapping import RunMapping
    from schemas.topics import RUN_EVENTS, Names

    settings = load(TopicSettings, config_file, flags)
    cluster = Cluster(settings)
    cluster.require(Names(settings.topic_prefix).topic(RUN_EVENTS))
    names = topics or (create_inbox(settings),)
    mapping = RunMapping(partial(click.echo, err=True))
    mapper = Mapper(
        settings,
        cluster.require(*names),
        Choices(frozenset(flags["code_tools"]), flags["score_name"]),
        Waits(flags["quiet_seconds"], flags["rootless_seconds"]),
        mapping,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(_say_counts, mapper, mapping)
        if topics:
            click.echo(f"reads {', '.join(names)}")
        else:
            host, port = stack.enter_context(
                listening(*listen, Inbox(settings, names[0]), flags["max_bytes"])
            )
            click.echo(f"listens at http://{authority(host, port)}/v1/traces")
        mapper.run()


def _say_counts(mapper: "Mapper", mapping: "RunMapping") -> None:
    click.echo(
        f"{mapping.runs} runs mapped, {mapper.events} events sent; {mapping.unmapped} not mapped, "
        f"{mapping.left_out} attempts without a score left out"
    )
