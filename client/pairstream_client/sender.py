"""One librdkafka producer, with the thread that takes in its acknowledgements.

The only module that touches Kafka.
"""

import ctypes
import threading
from collections.abc import Callable
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pairstream_client.errors import NotYet, Refused
from pairstream_client.events import Event
from pairstream_client.settings import Config

POLL_SECONDS = 0.5
PURGE_SECONDS = 1.0
THREAD_NAME = "pairstream-client"

_HINTS = {
    KafkaError._UNKNOWN_TOPIC: "; `pairstream topics apply` makes it",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "; `pairstream topics apply` makes it",
}
# About the event itself: it would be refused again.
_FOR_GOOD = (
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_RECORD,
)


class Failure(NamedTuple):
    """Why an event was not delivered; `for_good`: it, or one of its batch, never will be."""

    reason: str
    for_good: bool


Delivered = Callable[[Failure | None], None]


class Sender:
    """Sends events until it is closed, or until librdkafka cannot go on (`is_usable`)."""

    def __init__(
        self,
        config: Config,
        *,
        troubled: Callable[[str, str], None],
    ) -> None:
        """Raises: KafkaException, TypeError or ValueError when the settings cannot be.

        Args:
            troubled: told of errors that librdkafka goes on after: their name and a text.
        """
        ended = threading.Event()

        def on_error(error: KafkaError) -> None:
            if not ended.is_set():
                troubled(error.name(), f"Kafka: {error.str()}")
            if error.fatal():
                ended.set()

        self._producer = Producer({**config, "error_cb": on_error})
        self._ended, self._released = ended, threading.Event()
        threading.Thread(
            target=_serve,
            args=(self._producer, self._ended, self._released),
            name=THREAD_NAME,
            daemon=True,
        ).start()

    @property
    def is_usable(self) -> bool:
        return not self._ended.is_set()

    def send(self, topic: str, event: Event, delivered: Delivered) -> None:
        """Queue an event, at once. Raises: Refused; NotYet when it may be taken later.

        Args:
            delivered: told on another thread what became of it; None: it is acknowledged.
        """

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            delivered(None if error is None else _failure(error))

        try:
            self._producer.produce(
                topic, event.value, event.key, headers=event.headers, on_delivery=on_delivery
            )
        except BufferError:
            raise NotYet("the queue of events to be sent is full") from None
        except KafkaException as error:
            failure = _failure(error.args[0])
            raise (Refused if failure.for_good else NotYet)(failure.reason) from error

    def flush(self, timeout_seconds: float) -> None:
        """Send what is queued, and wait for it."""
        self._producer.flush(timeout_seconds)

    def end(self) -> None:
        """Give up what is still queued: it is told to have failed. Nothing may follow."""
        self._ended.set()
        self._producer.purge()
        self._producer.flush(PURGE_SECONDS)
        self.release()

    def release(self) -> None:
        """Leave the producer to its thread, at once. Nothing may follow."""
        del self._producer
        self._released.set()

    def abandon(self) -> None:
        """In a forked child: leave the parent's producer alone for ever.

        Its threads do not exist here and its locks may be held by them, so it cannot even be
        freed: it is made immortal.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._producer))


def _failure(error: KafkaError) -> Failure:
    reason = error.str().removeprefix("Unable to produce message: ")
    return Failure(reason + _HINTS.get(error.code(), ""), error.code() in _FOR_GOOD)


def _serve(producer: Producer, ended: threading.Event, released: threading.Event) -> None:
    """Holds the last reference: to free a producer can take long, so no other thread may do it.

    (librdkafka waits for its threads, and one that resolves a name in a forked child may wait
    for ever for a lock of the C library that a thread of the parent held.)
    """
    while not ended.is_set():
        producer.poll(POLL_SECONDS)
    producer.purge()
    while len(producer) or not released.is_set():
        producer.poll(POLL_SECONDS)
