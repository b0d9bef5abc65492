"""One run's events, folded. Pure: the worker, `replay` and the tests all run this code.

The order of arrival decides nothing but which of two conflicting events stands.
"""

import zlib
from collections.abc import Callable, Iterator
from enum import Enum, auto
from operator import attrgetter
from struct import Struct as Layout

import msgspec

from schemas.errors import InvalidRecord
from schemas.events import (
    EVENT_TYPES,
    CodeAttempted,
    Event,
    RunStarted,
    ScoreAssigned,
    StrategyProposed,
)

CONFLICTING_ATTEMPT = "conflicting_attempt"
CONFLICTING_STRATEGY = "conflicting_strategy"
CONFLICTING_START = "conflicting_start"
CONFLICTING_SCORE = "conflicting_score"

_DIGEST = Layout(">LL")
DIGEST_BYTES = _DIGEST.size

AgentEvent = RunStarted | StrategyProposed | CodeAttempted | ScoreAssigned

# An attempt's strategy and number.
AttemptPlace = tuple[str, int]

_encoder = msgspec.msgpack.Encoder()


class Folded(Enum):
    """What an event did to its run."""

    NEW = auto()
    DUPLICATE = auto()


class Run:
    """What is known of one run."""

    __slots__ = ("attempts", "refused", "run_id", "scores", "started", "strategies")

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.started: RunStarted | None = None
        self.strategies: dict[str, StrategyProposed] = {}
        self.attempts: dict[AttemptPlace, CodeAttempted] = {}
        self.scores: dict[AttemptPlace, ScoreAssigned] = {}
        self.refused: dict[bytes, None] = {}

    def fold(self, event: AgentEvent) -> Folded:
        """Take in one event.

        Raises: InvalidRecord (`conflicting_attempt`, `conflicting_strategy`, `conflicting_start`,
        `conflicting_score`) when another event already says otherwise; that one stands. The same
        refusal again is a duplicate.
        """
        standing: AgentEvent
        if isinstance(event, CodeAttempted):
            standing = self.attempts.setdefault((event.strategy_id, event.attempt), event)
            reason = CONFLICTING_ATTEMPT
        elif isinstance(event, StrategyProposed):
            standing = self.strategies.setdefault(event.strategy_id, event)
            reason = CONFLICTING_STRATEGY
        elif isinstance(event, ScoreAssigned):
            standing = self.scores.setdefault((event.strategy_id, event.attempt), event)
            reason = CONFLICTING_SCORE
        else:
            standing = self.started = self.started or event
            reason = CONFLICTING_START
        if standing is event:
            return Folded.NEW
        return self._compare(event, standing, reason)

    def _compare(self, event: AgentEvent, standing: AgentEvent, reason: str) -> Folded:
        _, content = _CONTENTS[type(event)]
        if content(event) == content(standing):
            return Folded.DUPLICATE
        digest = event_digest(event)
        if digest in self.refused:
            return Folded.DUPLICATE
        self.refused[digest] = None
        raise InvalidRecord(reason, "another event of this run already says otherwise")

    def digests(self) -> Iterator[bytes]:
        """Fingerprints of all that was taken in or refused, to know it again after settling."""
        if self.started is not None:
            yield event_digest(self.started)
        for strategy in self.strategies.values():
            yield event_digest(strategy)
        for attempt in self.attempts.values():
            yield event_digest(attempt)
        for score in self.scores.values():
            yield event_digest(score)
        yield from self.refused

    def judged(self) -> "Run":
        """The run with the scores that were assigned instead of the attempts' own.

        Guarantee: a function of what was taken in, whatever came first; a run without such scores
        is itself.
        """
        if not self.scores:
            return self
        run = Run(self.run_id)
        run.started, run.strategies, run.scores = self.started, self.strategies, self.scores
        run.attempts = {
            place: _judged(attempt, self.scores.get(place))
            for place, attempt in self.attempts.items()
        }
        return run


def _judged(attempt: CodeAttempted, assigned: ScoreAssigned | None) -> CodeAttempted:
    """A score of code that did not run, or tells nothing, would say what cannot be."""
    if assigned is None or not attempt.ran or attempt.is_void:
        return attempt
    return msgspec.structs.replace(attempt, score=assigned.score)


def event_digest(event: Event) -> bytes:
    """8 bytes that two events share when they say the same, whenever they were sent."""
    tag, content = _CONTENTS[type(event)]
    encoded = _encoder.encode((tag, content(event)))
    # Two sums of different kinds: they need not withstand anybody, since who makes two events of a
    # run alike only hides his own late one, and a cryptographic hash costs as much as the parsing.
    return _DIGEST.pack(zlib.crc32(encoded), zlib.adler32(encoded))


def _content_getter(event_type: type[msgspec.Struct]) -> Callable[[Event], object]:
    """What an event says: a sender that tries again may stamp it with another time or id."""
    names = [name for name in event_type.__struct_fields__ if name not in _STAMPS]
    return attrgetter(*names) if names else lambda _: ()


# Nor does it matter who assigned a score.
_STAMPS = ("time", "event_id", "run_id", "by")
_CONTENTS = {kind: (kind.__struct_config__.tag, _content_getter(kind)) for kind in EVENT_TYPES}
