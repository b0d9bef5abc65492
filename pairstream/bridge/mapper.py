"""From topics of spans to events: reads, waits until traces are whole, maps and sends them.

At least once: events are acknowledged before positions are committed, and the same trace gives the
same events, which change nothing the second time.
"""

import time
from typing import NoReturn

from confluent_kafka import Message

from pairstream.bridge.book import OpenTrace, TraceBook, Waits
from pairstream.bridge.span_reader import SpanReader
from pairstream.formats.exports import read_export
from pairstream.formats.record import Choices, Unreadable
from pairstream.formats.trace_files import read_trace
from pairstream.run_mapping import RunMapping
from pairstream.sending import Sender
from schemas.settings import KafkaSettings
from schemas.topics import RUN_EVENTS, Names

POLL_SECONDS = 0.5


class Mapper:
    """Args: `mapping` says what cannot be mapped, and counts."""

    def __init__(
        self,
        settings: KafkaSettings,
        topics: dict[str, int],
        choices: Choices,
        waits: Waits,
        mapping: RunMapping,
    ) -> None:
        self._sender = Sender(settings)
        self._topic = Names(settings.topic_prefix).topic(RUN_EVENTS)
        self._choices = choices
        self._mapping = mapping
        self._reader = SpanReader(settings, topics)
        self._book = TraceBook(waits, self._reader.passed_over, self._reader.ends)

    @property
    def events(self) -> int:
        """How many were sent."""
        return self._sender.sent - self._sender.too_large

    def run(self) -> NoReturn:
        """Until a signal unwinds it. Raises: PairstreamError when Kafka fails for long."""
        try:
            while True:
                for message in self._reader.read(POLL_SECONDS):
                    self._take_in(message)
                self._send(self._book.whole(time.monotonic()))
                self._reader.commit(self._book.positions())
        finally:
            self._reader.close()

    def _take_in(self, message: Message) -> None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        place = f"{topic}/{partition}/{offset}"
        try:
            items = list(read_export(message.value() or b"", place))
        except Unreadable as error:
            self._mapping.refuse(place, str(error))
            items = []
        self._book.add((topic, partition), offset, items, time.monotonic())

    def _send(self, due: list[tuple[str, OpenTrace]]) -> None:
        if not due:
            return
        for _, trace in due:
            spans = list(trace.spans.values())
            if spans:  # else only scores came, and nothing that they are of
                run = read_trace(spans, trace.notes, self._choices)
                for _, run_id, value in self._mapping.events(run):
                    self._sender.send(self._topic, run_id.encode(), value, label=f"run {run_id}")
        self._sender.finish("events", remedy="start the bridge again, nothing is lost")
        for trace_id, _ in due:
            self._book.close(trace_id)
