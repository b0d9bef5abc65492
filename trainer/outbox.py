"""What the trainer writes to Kafka: dead letters of pairs, and the steps of trainings."""

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, cast

import structlog
from confluent_kafka import KafkaException, Producer

from schemas import clients, dead_letters
from schemas.dead_letters import Header, Origin
from schemas.errors import InvalidRecord, PairstreamError
from schemas.rows import TrainingStep, TrainingStepName, encode
from schemas.settings import KafkaSettings
from schemas.topics import PAIRS, TRAININGS, Names
from trainer.datasets import DatasetManifest

log = structlog.get_logger()

SERVICE = "pairstream-trainer"

DELIVERY_SECONDS = 150.0
POLL_SECONDS = 0.1
ANSWER_SECONDS = 1.0


class Outbox:
    """Thread-safe. Nothing counts as written before `deliver` has returned.

    Each of `told` is told each step of a training that was acknowledged.

    A record that was not acknowledged fails every later `deliver` too: whose it was is not known.
    """

    def __init__(
        self, settings: KafkaSettings, *, told: Iterable[Callable[[TrainingStep], None]] = ()
    ) -> None:
        self._producer = Producer(clients.producer(settings))
        self._names = Names(settings.topic_prefix)
        self._told = tuple(told)
        self._lock = threading.Lock()
        self._errors: list[str] = []

    def refuse(
        self,
        key: bytes | None,
        value: bytes | None,
        original: Iterable[Header],
        origin: Origin,
        error: InvalidRecord,
    ) -> None:
        """Queue a dead letter with the record's bytes as they came."""
        letter = dead_letters.letter(
            origin, error, service=SERVICE, key=key, value=value, original=original
        )
        self._send(self._names.dead_letters(PAIRS), *letter)

    def step(
        self,
        training_id: str,
        step: TrainingStepName,
        dataset: DatasetManifest,
        detail: str | None,
    ) -> None:
        """Write one step of a training and wait until it is acknowledged; not so for `progress`,
        without which nothing is missing: no training waits for it, and none ends with it.
        """
        now = datetime.now(UTC)
        row = TrainingStep(training_id, step, now, dataset.name, dataset.sha256, detail)
        if step == "progress":
            self._hint(row)
        else:
            self.tell(row)

    def tell(self, row: TrainingStep) -> None:
        """Write one step as it is, and wait until it is acknowledged."""
        self._send(self._names.topic(TRAININGS), row.training_id.encode(), encode(row), None)
        self.deliver()
        for tell in self._told:
            tell(row)

    def reaches_brokers(self) -> bool:
        """Ask for the topics, with a short wait."""
        try:
            self._producer.list_topics(timeout=ANSWER_SECONDS)
        except KafkaException:
            return False
        return True

    def _hint(self, row: TrainingStep) -> None:
        topic, key = self._names.topic(TRAININGS), row.training_id.encode()
        with self._lock:
            try:
                self._producer.produce(topic, encode(row), key, on_delivery=_not_needed)
                self._producer.poll(0)
            except (BufferError, KafkaException) as error:
                log.warning("progress_not_told", training_id=row.training_id, why=str(error))

    def deliver(self) -> None:
        """Wait for every acknowledgement.

        Raises: PairstreamError when something was not acknowledged.
        """
        with self._lock:
            left = self._producer.flush(DELIVERY_SECONDS)
        if left or self._errors:
            what = self._errors[0] if self._errors else f"{left} records without an answer"
            raise PairstreamError(f"Kafka did not take what the trainer wrote: {what}")

    def _send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: list[Header] | None
    ) -> None:
        with self._lock:
            while not self._produce(topic, key, value, headers or []):
                self._producer.poll(POLL_SECONDS)
            self._producer.poll(0)

    def _produce(
        self, topic: str, key: bytes | None, value: bytes | None, headers: list[Header]
    ) -> bool:
        """False while the queue is full."""
        named = cast("Any", headers)  # its stubs want text where bytes are meant
        try:
            self._producer.produce(topic, value, key, headers=named, on_delivery=self._delivered)
        except BufferError:
            return False
        except KafkaException as error:
            self._errors.append(f"{topic}: {error.args[0].str()}")
        return True

    def _delivered(self, error: object, _message: object) -> None:
        if error is not None:
            self._errors.append(str(error))


def _not_needed(error: object, _message: object) -> None:
    if error is not None:
        log.warning("progress_not_told", why=str(error))
