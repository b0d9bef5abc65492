"""Agents that report runs without a pause, and write down what became of each send."""

import threading
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from schemas import clients
from schemas.settings import KafkaSettings
from schemas.topics import RUN_EVENTS, Names
from tests.chaos.ledger import HEADER, Entry, Ledger
from tests.chaos.made_runs import Sending, sendings
from tests.chaos.supervisor import ChaosError

FLUSH_SECONDS = 150.0


class Agent:
    """One producing thread, as one process of agents would be."""

    def __init__(
        self, settings: KafkaSettings, ledger: Ledger, *, seed: int, number: int, rate: float
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._number = number
        self._sendings = sendings(seed, number)
        self._pause_seconds = 1 / rate
        self._topic = Names(settings.topic_prefix).topic(RUN_EVENTS)
        self._producer = self._new_producer()
        self._is_broken = False
        self._stop = threading.Event()
        self._count = 0
        self._thread = threading.Thread(target=self._report, name=f"agent-{number}", daemon=True)
        self._thread.start()

    def _new_producer(self) -> Producer:
        return Producer(clients.producer(self._settings) | {"log_level": 0})

    def _report(self) -> None:
        while not self._stop.is_set():
            if self._is_broken:
                # A fatal error of the idempotent producer: only a new one can go on.
                self._producer = self._new_producer()
                self._is_broken = False
            self._send(next(self._sendings))
            self._producer.poll(0)
            self._stop.wait(self._pause_seconds)

    def _send(self, sending: Sending) -> None:
        self._count += 1
        send_id = f"{self._number}-{self._count}"
        entry = self._ledger.open(send_id, sending)
        try:
            self._producer.produce(
                self._topic,
                sending.value,
                sending.key,
                headers=[(HEADER, send_id.encode())],
                on_delivery=lambda error, message: self._note(entry, error, message),
            )
        except (BufferError, KafkaException) as error:
            entry.refused, entry.error = True, str(error)

    def _note(self, entry: Entry, error: KafkaError | None, message: Any) -> None:
        if error is None:
            offset = message.offset()
            # After a lost answer the broker may only say that it has the record.
            entry.place = (message.partition(), -1 if offset is None or offset < 0 else offset)
        else:
            entry.error = error.str()
            self._is_broken = self._is_broken or error.fatal() or error.code() == KafkaError._FATAL

    def stop(self) -> None:
        self._stop.set()

    def finish(self) -> None:
        """Wait for the last answers, after `stop`."""
        self._thread.join(FLUSH_SECONDS)
        if self._thread.is_alive() or self._producer.flush(FLUSH_SECONDS):
            raise ChaosError(f"agent {self._number} has no answer to its last sends")


def start_agents(
    settings: KafkaSettings, ledger: Ledger, *, seed: int, count: int, rate: float
) -> list[Agent]:
    """`rate` is what each sends, in events a second."""
    return [
        Agent(settings, ledger, seed=seed, number=number, rate=rate)
        for number in range(1, count + 1)
    ]
