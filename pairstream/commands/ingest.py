"""`pairstream ingest`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pairstream.formats import FORMATS
from pairstream.settings_loader import load, settings_options
from schemas.errors import PairstreamError
from schemas.settings import KafkaSettings

if TYPE_CHECKING:
    from pairstream.event_sources import EventSource

PROGRESS_EVERY = 100_000
EVENTS = "events"

_FORMAT_HELP = "events: one event of the contract a line. " + " ".join(
    f"{name}: {each.about}." for name, each in FORMATS.items()
)


@click.command("ingest")
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option("--format", "format_name", type=click.Choice([EVENTS, *FORMATS]), default=EVENTS,
              show_default=True, help=_FORMAT_HELP)  # fmt: skip
@click.option("--code-tool", "code_tools", multiple=True, metavar="NAME",
              help="With another format: a tool that runs code, besides the known ones; may be "
              "repeated.")  # fmt: skip
@click.option("--score", "score_name", metavar="NAME",
              help="With another format: which score counts, where several are told.")  # fmt: skip
@click.option("--print", "only_print", is_flag=True,
              help="Print the events and send nothing.")  # fmt: skip
@settings_options(KafkaSettings)
def command(
    files: tuple[str, ...],
    format_name: str,
    code_tools: tuple[str, ...],
    score_name: str | None,
    config_file: Path | None,
    *,
    only_print: bool,
    **flags: Any,
) -> None:
    """Send what FILES (- for standard input) tell of runs, and wait until all is there.

    FILES hold events, one a line, or, with --format, what agents record by another standard; of a
    folder then every file of the format counts. Nothing is invented: code without a score is no
    attempt (docs/formats.md has the rules).

    What is bad or cannot be mapped is named with its place and reason and left out; exit code 1
    then. Sending a file twice changes nothing.

    \b
    Examples:
      pairstream ingest runs.jsonl
      pairstream ingest --format otlp --print traces.jsonl
      pairstream ingest --format atif jobs/2026-11-30
    """
    settings = load(KafkaSettings, config_file, flags)
    source = _source(files, format_name, code_tools, score_name)
    if only_print:
        for _, _, event in source.events():
            click.echo(event)
        bad = source.bad
    else:
        bad = _send(source, settings)
    if bad:
        raise PairstreamError(f"{bad} {source.what_is_bad} left out; see above")


def _source(
    files: tuple[str, ...], format_name: str, code_tools: tuple[str, ...], score_name: str | None
) -> "EventSource":
    from pairstream.event_sources import STANDARD_INPUT, EventLines, MappedFiles
    from pairstream.formats.record import Choices

    if files.count(STANDARD_INPUT) > 1:
        raise click.UsageError("standard input (-) can be read once: name it once")
    if format_name != EVENTS:
        choices = Choices(frozenset(code_tools), score_name)
        return MappedFiles(files, FORMATS[format_name], choices)
    if code_tools or score_name:
        raise click.UsageError("--code-tool and --score go with a --format other than events")
    return EventLines(files)


def _send(source: "EventSource", settings: KafkaSettings) -> int:
    """Returns: how much was bad, what was too large included."""
    from pairstream.cluster import Cluster
    from pairstream.sending import Sender
    from schemas.topics import RUN_EVENTS, Names

    topic = Names(settings.topic_prefix).topic(RUN_EVENTS)
    Cluster(settings).require(topic)
    sender = Sender(settings)
    for label, run_id, event in source.events():
        sender.send(topic, run_id.encode(), event, label=label)
        if sender.sent % PROGRESS_EVERY == 0:
            click.echo(f"{sender.sent} events sent", err=True)
    sender.finish("events", remedy="send the file again, what is there twice changes nothing")
    bad = source.bad + sender.too_large
    sent = sender.sent - sender.too_large
    click.echo(f"{sent} events sent and acknowledged{source.note}; {bad} {source.what_is_bad}")
    return bad
