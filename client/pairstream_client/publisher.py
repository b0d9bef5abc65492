"""Sends events to Kafka from a process that must not notice it.

Delivery: an event is acknowledged by all in-sync replicas, or counted as failed, or counted as
dropped. Without a spool nothing is kept across the end of the process; with one, what is not
acknowledged is sent by the next process, and may then be there twice.
"""

import atexit
import multiprocessing
import multiprocessing.util
import os
import time
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException

from pairstream_client import settings
from pairstream_client.errors import NotYet, Refused
from pairstream_client.events import Event
from pairstream_client.process_lock import process_lock
from pairstream_client.sender import Delivered, Sender
from pairstream_client.tally import Stats, Tally

if TYPE_CHECKING:
    from pairstream_client.courier import Courier

__all__ = ["Publisher", "Stats", "process_publisher"]

# Some errors end a producer; another one takes its place, but not again and again.
RESTART_SECONDS = 10.0


class Publisher:
    """Sends events in the background. Never blocks and never raises, but for `close`.

    A process needs one. It may be made before a fork: the child then starts its own connection.
    """

    def __init__(  # noqa: PLR0913 - settings
        self,
        bootstrap_servers: str | None = None,
        topic_prefix: str | None = None,
        *,
        config: Mapping[str, settings.Value] | None = None,
        max_queued_events: int = 100_000,
        exit_timeout_seconds: float = 5.0,
        spool: str | os.PathLike[str] | None = None,
        spool_max_bytes: int | None = None,
        spool_fsync: bool | None = None,
    ) -> None:
        """Settings that are not given are taken from `PAIRSTREAM_*` variables.

        Args:
            config: librdkafka's properties by their names; they win over all else.
            max_queued_events: further events are dropped while so many wait.
            exit_timeout_seconds: how long the end of the process may wait for acknowledgements.
            spool: a folder on a local disk where events are kept until they are acknowledged;
                an empty path for none.
            spool_max_bytes: further events are dropped while so much is kept.
            spool_fsync: each event waits for the disk, to outlive the machine's power too.
        """
        self._exit_timeout_seconds = exit_timeout_seconds
        self._closed = False
        self._fault: str | None = None
        self._topic, self._config = "", settings.Config()
        self._spool: settings.SpoolSettings | None = None
        self._max_queued_events = max_queued_events
        try:
            self._spool = settings.spool_settings(
                os.environ, root=spool, max_bytes=spool_max_bytes, fsync=spool_fsync
            )
            self._topic = settings.topic_name(os.environ, topic_prefix)
            self._config = settings.producer_config(
                os.environ,
                bootstrap_servers=bootstrap_servers,
                max_queued_events=max_queued_events,
                overrides=config or {},
                is_spooled=self._spool is not None,
            )
        except (TypeError, ValueError) as error:
            self._fault = str(error)
        self._begin()
        with process_lock:
            _publishers.add(self)

    def _begin(self) -> None:
        self._sender: Sender | None = None
        self._courier: Courier | None = None
        self._may_start_at = time.monotonic()
        self._tally = Tally()

    @property
    def stats(self) -> Stats:
        return self._tally.stats

    def send(self, event: Event) -> None:
        """Queue an event. Raises: Refused, at once, when it cannot be queued."""
        with process_lock:
            if self._closed:
                raise Refused("the publisher is closed")
            if self._spool is None:
                self._usable_sender().send(self._topic, event, self._tally.delivered)
            else:
                self._started_courier(self._spool).post(event)
            self._tally.queued()

    def drop(self, reason: str) -> None:
        """Count an event that is not sent, and say so; `reason` quotes no agent's text."""
        self._tally.dropped(reason)

    def close(self, timeout_seconds: float | None = None) -> int:
        """Wait for acknowledgements, then give up the rest, but for what a spool keeps.

        Later events are dropped.

        Args:
            timeout_seconds: None for `exit_timeout_seconds`.

        Returns: how many events were still not acknowledged when the time was up.
        """
        seconds = self._exit_timeout_seconds if timeout_seconds is None else timeout_seconds
        with process_lock:
            courier, self._courier, self._closed = self._courier, None, True
        atexit.unregister(self.close)
        if courier is not None:
            courier.finish(max(seconds, 0))
        with process_lock:
            sender, self._sender = self._sender, None
        if sender is not None and courier is None:
            sender.flush(max(seconds, 0))
        left = self.stats.queued
        if left:
            where = "" if courier is None else "; they stay in the spool"
            self._tally.complaints.say(
                "close", f"closed before {left} events were acknowledged{where}"
            )
        if sender is not None:
            sender.end()
        if courier is not None:
            self._tally.ended(courier.close())
        return left

    def _started_courier(self, spool: settings.SpoolSettings) -> "Courier":
        if self._courier is None:
            # On the agent's thread, so that wrong settings show at the first event.
            self._usable_sender()
            # It needs Unix; without a spool nothing does.
            from pairstream_client.courier import Courier

            self._courier = Courier(
                spool, self._send_kept, self._tally, most_under_way=self._max_queued_events
            )
            self._courier.start()
        return self._courier

    def _send_kept(self, event: Event, delivered: Delivered) -> None:
        """Raises: NotYet, or Refused when the event itself is at fault."""
        with process_lock:
            try:
                sender = self._usable_sender()
            except Refused as error:
                raise NotYet(str(error)) from error
            sender.send(self._topic, event, delivered)

    def _usable_sender(self) -> Sender:
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
            sender = Sender(self._config, troubled=self._tally.complaints.say)
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

    def _begin_in_child(self) -> None:
        if self._sender is not None:
            self._sender.abandon()
        if self._courier is not None:
            self._courier.abandon()
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
