"""From records of the topics to what is written into the index at once. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from confluent_kafka import KafkaError, Message

from pairstream.ui.index_rows import letter_of, outcome_of, pair_of, step_of
from pairstream.ui.index_writer import Batch
from schemas.errors import PairstreamError
from schemas.topics import PAIRS, RUN_OUTCOMES, TRAININGS, Names

T = TypeVar("T")


def batch_of(records: Sequence[Message], names: Names) -> Batch:
    """Rows by their topic, and the positions behind them."""
    batch = Batch()
    pairs, outcomes, trainings = map(names.topic, (PAIRS, RUN_OUTCOMES, TRAININGS))
    for message in records:
        topic = str(message.topic())
        if topic == pairs:
            batch.pairs += _known(pair_of(message))
        elif topic == outcomes:
            batch.outcomes += _known(outcome_of(message))
        elif topic == trainings:
            batch.steps += _known(step_of(message))
        else:
            batch.letters.append(letter_of(message))
        batch.positions[topic, int(message.partition() or 0)] = int(message.offset() or 0) + 1
    return batch


def _known(found: T | None) -> Iterable[T]:
    return [] if found is None else [found]


def without_ends(messages: Iterable[Message], unread: set[tuple[str, int]]) -> Iterator[Message]:
    """The records among them; a partition whose end was reached is unread no more.

    Raises: PairstreamError when a partition cannot be read on.
    """
    for message in messages:
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:
            unread.discard((str(message.topic()), int(message.partition() or 0)))
        else:
            raise PairstreamError(f"the topics cannot be read on: {error.str()}")
