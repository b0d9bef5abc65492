"""Sends events to Kafka from a process that must not notice it.

Delivery: an event is acknowledged by all in-sync replicas, or counted as failed, or counted as
dropped; nothing is kept across the end of the process.
"""

import atexit
import multiprocessing
import multiprocessing.util
import os
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaException

from pairstream_client import settings
from pairstream_client.complaints import Complaints
from pairstream_client.errors import Refused
from pairstream_client.events import Event
from pairstream_client.process_lock import process_lock
from pairstream_client.sender import Sender

# Some errors end a producer; another one takes its place, but not again and again.
RESTART_SECONDS = 10.0


@dataclass(frozen=True)
class Stats:
    """What became of this process's events, in counts.

    `dropped` were never queued, `failed` were queued but not acknowledged in time, `queued` wait.
    """

    acknowledged: int = 0
    failed: int = 0
    dropped: int = 0
    queued: int = 0


class Publisher:
    """Sends events in the background. Never blocks and never raises, but for `close`.

    A process needs one. It may be made before a fork: the child then starts its own connection.
    """

    def __init__(
        self,
        bootstrap_servers: str | None = None,
        topic_prefix: str | None = None,
        *,
        config: Mapping[str, settings.Value] | None = None,
        max_queued_events: int = 100_000,
        exit_timeout_seconds: float = 5.0,
    ) -> None:
        """Settings that are not given are taken from `PAIRSTREAM_*` variables.

        Args:
            config: librdkafka's properties by their names; they win over all else.
            max_queued_events: further events are dropped while so many wait.
            exit_timeout_seconds: how long the end of the process may wait for acknowledgements.
        """
        self._exit_timeout_seconds = exit_timeout_seconds
        self._closed = False
        self._fault: str | None = None
        self._topic, self._config = "", settings.Config()
        try:
            self._topic = settings.topic_name(os.environ, topic_prefix)
            self._config = settings.producer_config(
                os.environ,
                bootstrap_servers=bootstrap_servers,
                max_queued_events=max_queued_events,
                overrides=config or {},
            )
        except (TypeError, ValueError) as error:
            self._fault = str(error)
        self._begin()
        with process_lock:
            _publishers.add(self)

    def _begin(self) -> None:
        self._sender: Sender | None = None
        self._may_start_at = time.monotonic()
        self._acknowledged = self._failed = self._dropped = self._queued = 0
        self._complaints = Complaints()

    @property
    def stats(self) -> Stats:
        with process_lock:
            return Stats(self._acknowledged, self._failed, self._dropped, self._queued)

    def send(self, event: Event) -> None:
        """Queue an event. Raises: Refused, at once, when it cannot be queued."""
        with process_lock:
            self._usable_sender().send(self._topic, event)
            self._queued += 1

    def drop(self, reason: str) -> None:
        """Count an event that is not sent, and say so; `reason` quotes no agent's text."""
        with process_lock:
            self._dropped += 1
        self._complaints.say(reason, f"an event was dropped: {reason}")

    def close(self, timeout_seconds: float | None = None) -> int:
        """Wait for acknowledgements, then give up the rest; later events are dropped.

        Args:
            timeout_seconds: None for `exit_timeout_seconds`.

        Returns: how many events were still not acknowledged when the time was up.
        """
        with process_lock:
            sender, self._sender, self._closed = self._sender, None, True
        atexit.unregister(self.close)
        if sender is None:
            return 0
        seconds = self._exit_timeout_seconds if timeout_seconds is None else timeout_seconds
        sender.flush(max(seconds, 0))
        left = self.stats.queued
        if left:
            self._complaints.say("close", f"closed before {left} events were acknowledged")
        sender.end()
        return left

    def _usable_sender(self) -> Sender:
        if self._closed:
            raise Refused("the publisher is closed")
        if self._fault is not None:
            raise Refused(f"the publisher cannot work: {self._fault}")
        if self._sender is not None and not self._sender.is_usable:
            self._sender.release()
            self._sender = None
        if self._sender is None:
            self._sender = self._start()
        return self._sender

    def _start(self) -> Sender:
        if time.monotonic() < self._may_start_at:
            raise Refused("the producer failed for good; another one is made soon")
        self._may_start_at = time.monotonic() + RESTART_SECONDS
        try:
            sender = Sender(
                self._config, delivered=self._on_delivered, troubled=self._complaints.say
            )
        except (KafkaException, TypeError, ValueError) as error:
            reason = error.args[0]
            self._fault = reason.str() if isinstance(error, KafkaException) else str(reason)
            raise Refused(f"the publisher cannot work: {self._fault}") from error
        self._close_at_exit()
        return sender

    def _close_at_exit(self) -> None:
        atexit.unregister(self.close)
        atexit.register(self.close)
        if multiprocessing.parent_process() is not None:
            # Its forked children end without atexit's functions.
            multiprocessing.util.Finalize(None, self.close, exitpriority=0)

    def _on_delivered(self, failure: str | None) -> None:
        with process_lock:
            self._queued -= 1
            self._acknowledged += failure is None
            self._failed += failure is not None
        if failure is not None:
            self._complaints.say(failure, f"an event was not delivered: {failure}")

    def _begin_in_child(self) -> None:
        if self._sender is not None:
            self._sender.abandon()
        self._begin()


_publishers: "weakref.WeakSet[Publisher]" = weakref.WeakSet()
_process_publisher: Publisher | None = None


def process_publisher() -> Publisher:
    """The publisher that recorders share unless they are given one; made on first use."""
    global _process_publisher
    with process_lock:
        if _process_publisher is None:
            _process_publisher = Publisher()
        return _process_publisher


def _begin_in_child() -> None:
    for publisher in _publishers:
        publisher._begin_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
