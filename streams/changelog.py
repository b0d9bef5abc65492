"""Reads the worker's state back from its changelog, partition by partition.

Faust's own recovery applies 10,500 records a second, logs what it cannot apply and goes on; here
the state is complete up to the end that the log had at the start, or the worker does not start.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import cast

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from schemas.clients import ClientConfig, waiting_cures
from schemas.errors import PairstreamError
from schemas.retries import retried

State = dict[bytes, tuple[bytes, int]]

METADATA_SECONDS = 30.0
# Without a record for so long the brokers are taken to be gone.
SILENCE_SECONDS = 60.0
# More would take memory that grows with the log: those of a read are held at once.
RECORDS_A_READ = 2_000
READ_SECONDS = 0.1


class StateReader:
    """Reads as often as partitions are taken over, by one consumer: every one that is made and
    closed would leave some memory behind. Blocking; made at the first read.
    """

    def __init__(self, config: ClientConfig, topic: str) -> None:
        """`config` names the group whose commits are asked for; it is never joined."""
        self._config = config
        self._topic = topic
        self._consumer: Consumer | None = None
        # A rebalance may begin while the state for the one before it is still read.
        self._lock = threading.Lock()

    def committed(self, topic: str, partitions: set[int]) -> dict[int, int]:
        """What the group has committed, by partition; 0 where it has nothing.

        Raises: PairstreamError when the brokers do not tell it.
        """
        asked = [TopicPartition(topic, partition) for partition in sorted(partitions)]
        with self._usable() as consumer:
            answers = retried(
                lambda: consumer.committed(asked, timeout=METADATA_SECONDS),
                failure="the brokers do not tell what is committed",
                seconds=SILENCE_SECONDS,
            )
        return {each.partition: max(0, each.offset) for each in answers}

    def state(self, partitions: set[int]) -> Mapping[int, State]:
        """The newest value and its time (ms) under each key of the given partitions.

        Raises: PairstreamError when a partition cannot be read to the end that it had at the start.
        """
        with self._usable() as consumer:
            try:
                return _read(consumer, self._topic, partitions)
            except confluent_kafka.KafkaException as error:
                raise PairstreamError(
                    f"cannot read the state in {self._topic}: {error.args[0].str()}"
                ) from error
            finally:
                consumer.unassign()

    def close(self) -> None:
        with self._lock:
            if self._consumer is not None:
                self._consumer.close()
                self._consumer = None

    @contextmanager
    def _usable(self) -> Iterator[Consumer]:
        with self._lock:
            if self._consumer is None:
                self._consumer = Consumer(self._config)
            yield self._consumer


def _read(consumer: Consumer, topic: str, partitions: set[int]) -> Mapping[int, State]:
    state: dict[int, State] = {partition: {} for partition in partitions}
    missing = set()
    for partition in partitions:
        place = TopicPartition(topic, partition)
        low, high = retried(
            partial(consumer.get_watermark_offsets, place, timeout=METADATA_SECONDS),
            failure=f"the brokers do not tell where {topic} ends",
            seconds=SILENCE_SECONDS,
        )
        if high > low:
            missing.add(partition)
    consumer.assign(
        [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in sorted(missing)]
    )
    last_record = time.monotonic()
    while missing:
        # Returns what came within the time, and only a full read any sooner.
        messages = consumer.consume(RECORDS_A_READ, timeout=READ_SECONDS)
        # Errors are news of the brokers, but not that it goes on.
        if any(message.error() is None for message in messages):
            last_record = time.monotonic()
        elif time.monotonic() - last_record > SILENCE_SECONDS:
            raise PairstreamError(
                f"no record of the state in {topic} came for {SILENCE_SECONDS:.0f} s; are the "
                "brokers there?"
            )
        for message in messages:
            partition, error = cast("int", message.partition()), message.error()
            if error is None:
                _apply(state[partition], message)
            elif error.code() == confluent_kafka.KafkaError._PARTITION_EOF:
                missing.discard(partition)
            elif not waiting_cures(error):
                raise confluent_kafka.KafkaException(error)
    return state


def _apply(state: State, message: confluent_kafka.Message) -> None:
    key, value = message.key(), message.value()
    assert key is not None, "the worker writes no state without a key"
    if value is None:
        state.pop(key, None)
    else:
        state[key] = (value, message.timestamp()[1])
