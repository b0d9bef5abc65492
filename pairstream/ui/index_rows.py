"""What the index keeps of records and of lines in segments. Pure."""

import math
from collections.abc import Iterable, Iterator
from typing import Annotated, NamedTuple, TypeVar

import msgspec
from confluent_kafka import Message
from msgspec import Meta, Struct

from pairstream.letters import as_letter
from schemas.json_errors import JSON_ERRORS

DETAIL_CHARACTERS = 300

# What SQLite can hold and sum; whoever may write to the topics may write any number.
Count = Annotated[int, Meta(ge=0, le=2**40)]


class PairHead(Struct):
    """A pair without its texts, which are skipped unread."""

    pair_id: str
    run_id: str
    strategy_id: str
    rule: str
    chosen_score: float | None
    rejected_score: float | None
    garbler: str | None
    agent_id: str | None
    task_id: str | None
    policy_id: str | None

    @property
    def key(self) -> bytes:
        """Raises: ValueError where its id is none."""
        key = bytes.fromhex(self.pair_id)
        if len(key) != 16:
            raise ValueError
        return key

    @property
    def gap(self) -> float | None:
        """Null where a side has no score, as `trainer.selection.score_gap` has it."""
        if self.chosen_score is None or self.rejected_score is None:
            return None
        gap = self.chosen_score - self.rejected_score
        return gap if math.isfinite(gap) else None


class Place(NamedTuple):
    """Where a pair's line or record lies; the rest is null."""

    partition: int | None = None
    offset: int | None = None
    segment: str | None = None
    start: int | None = None
    length: int | None = None
    time_ms: int | None = None


class PlacedPair(NamedTuple):
    """A pair and where it lies."""

    pair: PairHead
    place: Place


class OutcomeHead(Struct):
    """An outcome, whatever words a later version gives as its reason."""

    run_id: str
    reason: str | None
    strategies: Count
    attempts: Count
    successes: Count
    void: Count
    pairs: Count
    scored_rows: Count
    settled_by: str
    agent_id: str | None
    task_id: str | None
    policy_id: str | None

    @property
    def kind(self) -> str:
        return self.reason or "paired"


class TimedOutcome(NamedTuple):
    """An outcome and when it was written, in ms since 1970."""

    outcome: OutcomeHead
    time_ms: int


class LetterHead(NamedTuple):
    """A dead letter, without its record."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    reason: str
    detail: str
    run_id: str | None


class StepRecord(NamedTuple):
    """A step of a training, as it was written."""

    partition: int
    offset: int
    training_id: str
    value: bytes


T = TypeVar("T", bound=Struct)

_pair = msgspec.json.Decoder(PairHead)
_outcome = msgspec.json.Decoder(OutcomeHead)


class _StepHead(Struct):
    training_id: str


_step = msgspec.json.Decoder(_StepHead)


def _decoded(decoder: msgspec.json.Decoder[T], value: bytes | None) -> T | None:
    try:
        return decoder.decode(value or b"")
    except JSON_ERRORS:
        return None


def _placed(value: bytes | None, place: Place) -> PlacedPair | None:
    pair = _decoded(_pair, value)
    if pair is None:
        return None
    try:
        assert pair.key
    except ValueError:
        return None
    return PlacedPair(pair, place)


def pair_of(message: Message) -> PlacedPair | None:
    """None for what is no pair: the trainer makes a dead letter of it."""
    place = Place(message.partition(), message.offset(), time_ms=message.timestamp()[1])
    return _placed(message.value(), place)


def pairs_in_segment(path: str, lines: Iterable[bytes]) -> Iterator[PlacedPair]:
    """The pairs of a segment, by its path below the folder of segments."""
    start = 0
    for line in lines:
        found = _placed(line, Place(segment=path, start=start, length=len(line)))
        start += len(line)
        if found is not None:
            yield found


def outcome_of(message: Message) -> TimedOutcome | None:
    found = _decoded(_outcome, message.value())
    return None if found is None else TimedOutcome(found, message.timestamp()[1])


def letter_of(message: Message) -> LetterHead:
    letter = as_letter(message)
    return LetterHead(
        letter.topic,
        letter.partition,
        letter.offset,
        message.timestamp()[1],
        letter.reason[:DETAIL_CHARACTERS],
        letter.detail[:DETAIL_CHARACTERS],
        letter.run_id or letter.key,
    )


def step_of(message: Message) -> StepRecord | None:
    value, found = message.value() or b"", _decoded(_step, message.value())
    if found is None:
        return None
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return StepRecord(partition, offset, found.training_id, value)
