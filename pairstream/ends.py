"""Consumers for bounded reads, and where partitions really end."""

import time
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, TopicPartition

from schemas import clients
from schemas.errors import PairstreamError
from schemas.settings import KafkaSettings
from schemas.topics import Names

# A topic's partition, and its first offset and end.
Place = tuple[str, int]
Range = tuple[int, int]

POLL_SECONDS = 0.1
SILENCE_SECONDS = 30.0

# A fetch that waits for news at a topic's end would hold up the next assignment.
FETCH_WAIT_MS = 10


def bounded_consumer(settings: KafkaSettings, *, group: str | None = None) -> Consumer:
    """For reads that end where the topic ends now; it never joins its group."""
    name = group or Names(settings.topic_prefix).reader_group
    config = clients.reader(settings, group=name)
    return Consumer(config | {"log_level": 0, "fetch.wait.max.ms": FETCH_WAIT_MS})


def true_ranges(consumer: Consumer, told: Mapping[Place, Range]) -> dict[Place, Range]:
    """The ranges that the brokers tell, with the ends that fetching the last records shows.

    Asked where a partition ends, the embedded broker names the end of its last batch's first
    record; a fetch tells the end of the last one. Leaves the consumer assigned.

    Raises: PairstreamError when a partition cannot be read.
    """
    found = dict(told)
    waiting = {place for place, (low, high) in told.items() if high > low}
    consumer.assign([TopicPartition(*place, told[place][1] - 1) for place in waiting])
    deadline = time.monotonic() + SILENCE_SECONDS
    while waiting:
        message = consumer.poll(POLL_SECONDS)
        if message is None:
            _check_time(deadline, waiting)
            continue
        _check(message.error())
        place = (str(message.topic()), int(message.partition() or 0))
        if place in waiting:
            waiting.discard(place)
            low, high = told[place]
            _, seen = consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            found[place] = (low, max(high, seen))
    return found


def _check_time(deadline: float, waiting: set[Place]) -> None:
    if time.monotonic() > deadline:
        topic, partition = min(waiting)
        raise PairstreamError(f"{topic} partition {partition} cannot be read: broker gone?")


def _check(error: KafkaError | None) -> None:
    if error is None or error.code() == KafkaError._PARTITION_EOF:
        return
    if not clients.waiting_cures(error):
        raise PairstreamError(f"a topic cannot be read: {error.str()}; try again")
