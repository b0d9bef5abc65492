"""Sends records and waits until the brokers have them."""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import click
from confluent_kafka import KafkaError, KafkaException, Producer

from schemas import clients
from schemas.dead_letters import Header
from schemas.errors import PairstreamError
from schemas.printable import printable
from schemas.settings import KafkaSettings

DELIVERY_SECONDS = 150.0


class Sender:
    """Counts what became of the records; only `finish` says that they are there.

    `too_large` were named and left out.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._producer = Producer(clients.producer(settings))
        self.sent = self.too_large = self._failed = 0
        self._first_error: str | None = None

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header] = (),
        *,
        partition: int = -1,
        label: str | None = None,
    ) -> None:
        """Queue a record; waits only where the queue is full. The key decides its partition, unless
        one is given. `label` names it to the user where it is too large.
        """
        delivered = partial(self._delivered, label) if label else self._delivered_unnamed
        named = cast("Any", list(headers))  # its stubs want text where bytes are meant
        while True:
            try:
                self._producer.produce(
                    topic, value, key, partition, headers=named, on_delivery=delivered
                )
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                delivered(error.args[0], None)
                break
            else:
                break
        self.sent += 1
        self._producer.poll(0)

    def _delivered_unnamed(self, error: Any, message: Any) -> None:
        self._delivered(None, error, message)

    def _delivered(self, label: str | None, error: Any, _: Any) -> None:
        if error is None:
            return
        if label and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self.too_large += 1
            # Agents name runs and spans, which stand in labels.
            click.echo(printable(f"{label}: too large for the topic ({error.str()})"), err=True)
            return
        self._failed += 1
        self._first_error = self._first_error or error.str()

    def finish(self, what: str, *, remedy: str) -> None:
        """Wait for every acknowledgement. Raises: PairstreamError when some did not come."""
        left = self._producer.flush(DELIVERY_SECONDS)
        if left or self._failed:
            raise PairstreamError(
                f"{left + self._failed} of {self.sent} {what} were not acknowledged"
                f" ({self._first_error or 'no answer'}): {remedy}"
            )
