"""`pairstream ingest`."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.errors import InvalidRecord, PairstreamError
from schemas.events import parse_event, run_id_of_unknown
from schemas.settings import KafkaSettings

PROGRESS_EVERY = 100_000


@click.command("ingest")
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option("--format", expose_value=False, type=click.Choice(["events"]), default="events",
              show_default=True, help="events: one event of the contract a line.")  # fmt: skip
@settings_options(KafkaSettings)
def command(files: tuple[str, ...], config_file: Path | None, **flags: Any) -> None:
    """Send events from JSON-lines FILES (- for standard input) and wait until all are there.

    A bad line is named with its number and reason and left out; exit code 1 then. Sending a file
    twice changes nothing.

    \b
    Example:
      pairstream ingest runs.jsonl
    """
    from pairstream.cluster import Cluster
    from pairstream.sending import Sender
    from schemas.topics import RUN_EVENTS, Names

    settings = load(KafkaSettings, config_file, flags)
    topic = Names(settings.topic_prefix).topic(RUN_EVENTS)
    Cluster(settings).require(topic)
    sender = Sender(settings)
    reader = _Lines()
    for name in files:
        with _opened(name) as lines:
            for label, run_id, event in reader.events(name, lines):
                sender.send(topic, run_id.encode(), event, label=label)
                if sender.sent % PROGRESS_EVERY == 0:
                    click.echo(f"{sender.sent} events sent", err=True)
    sender.finish("events", remedy="send the file again, what is there twice changes nothing")
    bad, unknown = reader.bad + sender.too_large, reader.unknown
    note = f", {unknown} of unknown types" if unknown else ""
    sent = sender.sent - sender.too_large
    click.echo(f"{sent} events sent and acknowledged{note}; {bad} bad lines")
    if bad:
        raise PairstreamError(f"{bad} lines are no events or too large, and left out; see above")


def _opened(name: str) -> IO[bytes]:
    if name == "-":
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise PairstreamError(f"{name} cannot be read: {error.strerror}") from error


class _Lines:
    """Tells events from bad lines, and counts."""

    def __init__(self) -> None:
        self.bad = self.unknown = 0

    def events(self, name: str, lines: Iterable[bytes]) -> Iterator[tuple[str, str, bytes]]:
        """Place, run and bytes of each event; says which lines are none."""
        for number, line in enumerate(lines, 1):
            event = line.strip()
            if not event:
                continue
            try:
                run_id = self._run_id(event)
            except InvalidRecord as error:
                self.bad += 1
                click.echo(f"{name}:{number}: {error}", err=True)
            else:
                yield f"{name}:{number}", run_id, event

    def _run_id(self, line: bytes) -> str:
        event = parse_event(line)
        if event is not None:
            return event.run_id
        run_id = run_id_of_unknown(line)
        self.unknown += 1
        return run_id
