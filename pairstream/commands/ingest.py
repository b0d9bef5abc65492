"""`pairstream ingest`."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.errors import InvalidRecord, PairstreamError
from schemas.settings import KafkaSettings

PROGRESS_EVERY = 100_000
DELIVERY_SECONDS = 150.0


class Sender:
    """Sends events and counts what became of them."""

    def __init__(self, settings: KafkaSettings) -> None:
        from confluent_kafka import Producer

        from schemas import clients
        from schemas.topics import RUN_EVENTS, Names

        self._producer = Producer(clients.producer(settings))
        self._topic = Names(settings.topic_prefix).topic(RUN_EVENTS)
        self.sent = self.failed = self.unknown = 0
        self.first_error: str | None = None

    def send(self, run_id: str, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topic, value, run_id.encode(), on_delivery=self._delivered
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                break
        self.sent += 1
        self._producer.poll(0)

    def _delivered(self, error: Any, _: Any) -> None:
        if error is not None:
            self.failed += 1
            self.first_error = self.first_error or error.str()

    def finish(self) -> None:
        """Wait for every acknowledgement. Raises: PairstreamError when some did not come."""
        left = self._producer.flush(DELIVERY_SECONDS)
        if left or self.failed:
            raise PairstreamError(
                f"{left + self.failed} of {self.sent} events were not acknowledged"
                f" ({self.first_error or 'no answer'}): send the file again, what is there twice "
                "changes nothing"
            )


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
    from schemas.topics import RUN_EVENTS, Names

    settings = load(KafkaSettings, config_file, flags)
    Cluster(settings).require(Names(settings.topic_prefix).topic(RUN_EVENTS))
    sender = Sender(settings)
    bad = 0
    for name in files:
        with _opened(name) as lines:
            bad += _send_lines(name, lines, sender)
    sender.finish()
    note = f", {sender.unknown} of unknown types" if sender.unknown else ""
    click.echo(f"{sender.sent} events sent and acknowledged{note}; {bad} bad lines")
    if bad:
        raise PairstreamError(f"{bad} lines are no events and were not sent; see above")


def _opened(name: str) -> IO[bytes]:
    if name == "-":
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise PairstreamError(f"{name} cannot be read: {error.strerror}") from error


def _send_lines(name: str, lines: Iterable[bytes], sender: Sender) -> int:
    bad = 0
    for number, line in _numbered(lines):
        try:
            run_id = _run_id(line, sender)
        except InvalidRecord as error:
            bad += 1
            click.echo(f"{name}:{number}: {error}", err=True)
            continue
        sender.send(run_id, line)
        if sender.sent % PROGRESS_EVERY == 0:
            click.echo(f"{sender.sent} events sent", err=True)
    return bad


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if stripped:
            yield number, stripped


def _run_id(line: bytes, sender: Sender) -> str:
    from schemas.events import parse_event, run_id_of_unknown

    event = parse_event(line)
    if event is not None:
        return event.run_id
    sender.unknown += 1
    return run_id_of_unknown(line)
