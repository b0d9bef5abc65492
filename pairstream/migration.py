"""Copies events under a new prefix, whose topics may have other partitions, and keeps runs whole.

Inside a run only its end must come last. So where a run's events lie in several partitions, because
somebody added some under it, its end is held back until all else is there.
"""

from collections.abc import Callable, Iterable

import msgspec
from confluent_kafka import Message

from pairstream.cluster import Cluster
from pairstream.reader import TopicReader
from pairstream.sending import Sender
from schemas.errors import PairstreamError
from schemas.settings import KafkaSettings
from schemas.topics import RUN_EVENTS, Names

REMEDY = "run it again, what is there twice changes nothing"
PROGRESS_EVERY = 100_000

Progress = Callable[[int, int], None]

_ENDS = frozenset({"run.finished", "run.expired"})


class _Type(msgspec.Struct):
    type: str


_decode = msgspec.json.Decoder(_Type).decode


def migrate_events(settings: KafkaSettings, *, from_prefix: str, progress: Progress) -> str:
    """Copy every event, its bytes, key and headers as they came; the agents must have stopped.

    Returns: a line for the user. Raises: PairstreamError.
    """
    names = Names(from_prefix), Names(settings.topic_prefix)
    old, new = (each.topic(RUN_EVENTS) for each in names)
    if old == new:
        raise PairstreamError(f"{old} cannot be copied into itself: set PAIRSTREAM_TOPIC_PREFIX")
    partitions = Cluster(settings).require(old, new)[old]
    survey = TopicReader(settings, old, partitions)
    ranges = dict(survey.ranges)
    spread = _spread_keys(survey.read())
    source = TopicReader(settings, old, partitions)
    source.restrict(ranges)
    sender, held = Sender(settings), []
    for count, message in enumerate(source.read(), 1):
        if message.key() in spread and _ends_a_run(message.value()):
            held.append(message)
        else:
            sender.send(new, message.key(), message.value(), message.headers() or ())
        if count % PROGRESS_EVERY == 0:
            progress(count, source.total)
    sender.finish("events", remedy=REMEDY)
    for message in held:
        sender.send(new, message.key(), message.value(), message.headers() or ())
    sender.finish("events", remedy=REMEDY)
    return (
        f"{sender.sent} events copied from {old} to {new} and acknowledged; runs that lay in "
        f"several partitions: {len(spread)}"
    )


def _spread_keys(messages: Iterable[Message]) -> set[bytes]:
    """Keys that stand in several partitions."""
    first: dict[bytes, int | None] = {}
    return {
        key
        for message in messages
        if (key := message.key()) is not None
        and first.setdefault(key, message.partition()) != message.partition()
    }


def _ends_a_run(value: bytes | None) -> bool:
    try:
        return value is not None and _decode(value).type in _ENDS
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
