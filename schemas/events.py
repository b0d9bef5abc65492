"""The events that agents send, and the one decoder that decides which bytes are an event.

Contract, section 3. Unknown fields are ignored, so that newer agents do not break older workers.
"""

import re
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from schemas.errors import InvalidRecord

INVALID_EVENT = "invalid_event"

# The largest whole number that every JSON implementation reads exactly (RFC 8259, section 6).
MAX_SAFE_INTEGER = 2**53 - 1

RunId = Annotated[
    str, Meta(min_length=1, max_length=256, description="One run; also the record's key.")
]
Time = Annotated[datetime, Meta(tz=True, description="When it happened (RFC 3339).")]
AttemptNumber = Annotated[
    int,
    Meta(ge=1, le=MAX_SAFE_INTEGER, description="Order of the attempts of one strategy, from 1."),
]
Score = Annotated[
    float, Meta(ge=0, description="What the attempt achieved; above 0 only if it ran.")
]
Fault = Annotated[
    Literal["infrastructure", "cancelled"],
    Meta(description="Why the attempt tells nothing about the agent: it is void."),
]


# Nothing here forms cycles, so the collector need not look at it (`gc=False`).
class Message(Struct, frozen=True, gc=False):
    """One chat message."""

    role: str
    content: str


class Prompts(Struct, frozen=True, gc=False):
    """The four parts of the full prompt, joined in this order."""

    system_plist: list[Message]
    basic_env_plist: list[Message]
    special_egc_req_plist: list[Message]
    strat_code_req_plist: list[Message]

    def full(self) -> list[Message]:
        """The contract's FULL: all messages in order."""
        return (
            self.system_plist
            + self.basic_env_plist
            + self.special_egc_req_plist
            + self.strat_code_req_plist
        )


class RunStarted(Struct, tag_field="type", tag="run.started", frozen=True, gc=False):
    """An agent began to work on a task."""

    run_id: RunId
    time: Time
    prompts: Prompts
    new_sp_egc_s: list[str] | None = None
    agent_id: str | None = None
    task_id: str | None = None
    policy_id: str | None = None
    event_id: str | None = None


class StrategyProposed(Struct, tag_field="type", tag="strategy.proposed", frozen=True, gc=False):
    """The agent proposed a plan; its own prompts, if any, stand for it instead of the run's."""

    run_id: RunId
    time: Time
    strategy_id: str
    strategy: str
    prompts: Prompts | None = None
    new_sp_egc_s: list[str] | None = None
    event_id: str | None = None


class CodeAttempted(Struct, tag_field="type", tag="code.attempted", frozen=True, gc=False):
    """The agent wrote code for a strategy, and this is what happened to it."""

    run_id: RunId
    time: Time
    strategy_id: str
    attempt: AttemptNumber
    code: str
    compiled: bool
    ran: bool
    score: Score
    error: str | None = None
    fault: Fault | None = None
    event_id: str | None = None

    @property
    def is_void(self) -> bool:
        """Says nothing about the agent: in no row and no rule."""
        return self.fault is not None

    @property
    def is_runnable(self) -> bool:
        """Compiled and ran."""
        return self.compiled and self.ran

    @property
    def is_success(self) -> bool:
        """Compiled, ran and scored above 0."""
        return self.compiled and self.ran and self.score > 0


class ScoreAssigned(Struct, tag_field="type", tag="score.assigned", frozen=True, gc=False):
    """What an attempt was worth, said later or by somebody else: it stands instead of its own.

    Of an attempt that did not run, or is void, it counts nothing.
    """

    run_id: RunId
    time: Time
    strategy_id: str
    attempt: AttemptNumber
    score: Annotated[float, Meta(ge=0, description="What the attempt achieved.")]
    by: Annotated[str | None, Meta(description="Who says so.")] = None
    event_id: str | None = None


class RunFinished(Struct, tag_field="type", tag="run.finished", frozen=True, gc=False):
    """The agent is done: the run is settled."""

    run_id: RunId
    time: Time
    event_id: str | None = None


class RunExpired(Struct, tag_field="type", tag="run.expired", frozen=True, gc=False):
    """Written by the worker, not by agents: the run was silent for the run timeout.

    Settles the run only if no more than `events` of its events stand before it in the log: one
    that came in between has proved the run alive, and retention may have taken others. So a replay
    settles it at the same place.
    """

    run_id: RunId
    time: Time
    events: Annotated[int, Meta(ge=1, le=MAX_SAFE_INTEGER)]
    event_id: str | None = None


Event = RunStarted | StrategyProposed | CodeAttempted | ScoreAssigned | RunFinished | RunExpired

EVENT_TYPES: tuple[type[Struct], ...] = (
    RunStarted,
    StrategyProposed,
    CodeAttempted,
    ScoreAssigned,
    RunFinished,
    RunExpired,
)


_QUOTE = re.compile(r"value '.*'", re.DOTALL)


def unquoted(error: Exception) -> str:
    """What msgspec says, less the record's own text."""
    return _QUOTE.sub("value", str(error))


class _Peek(Struct):
    type: str


_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)

# An event of ours has four levels. The decoder's own limit is what Python's stack has left, so it
# would be another one for each caller.
MAX_NESTING = 200
# A text that does not end is one as well, or each of its quotes would be tried as another's start.
_TEXT_OR_BRACKET = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|([\[{])|([\]}])', re.DOTALL)

_peek_decoder = msgspec.json.Decoder(_Peek)
_known_types = frozenset(str(event.__struct_config__.tag) for event in EVENT_TYPES)


def parse_event(value: bytes | None) -> Event | None:
    """Decode and validate one record's value.

    Returns: the event, or None for a well-formed event of a type that is not known here, which is
    to be counted and skipped.
    Raises: InvalidRecord (`invalid_event`) for everything else.
    """
    if value is None:
        raise InvalidRecord(INVALID_EVENT, "the record has no value")
    try:
        # msgspec does not look into fields that it skips, so the encoding is checked here.
        value.decode()
        _check_nesting(value)
        event = _decoder.decode(value)
    except UnicodeDecodeError as error:
        raise InvalidRecord(INVALID_EVENT, f"not UTF-8: {error.reason}") from error
    except msgspec.ValidationError as error:
        if _is_unknown_type(value):
            return None
        raise InvalidRecord(INVALID_EVENT, unquoted(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRecord(INVALID_EVENT, f"not JSON: {error}") from error
    if type(event) is CodeAttempted:
        _check_attempt(event)
    elif type(event) is ScoreAssigned:
        _unsign_zero(event)
    return event


class _Keyed(Struct):
    run_id: RunId


_keyed_decoder = msgspec.json.Decoder(_Keyed)


def run_id_of_unknown(value: bytes) -> str:
    """The run of an event of an unknown type, which decides its partition.

    Raises: InvalidRecord (`invalid_event`) when it names none.
    """
    try:
        return _keyed_decoder.decode(value).run_id
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRecord(INVALID_EVENT, unquoted(error)) from error


def _is_unknown_type(value: bytes) -> bool:
    try:
        return _peek_decoder.decode(value).type not in _known_types
    except (msgspec.DecodeError, RecursionError):
        return False


def _check_attempt(attempt: CodeAttempted) -> None:
    if attempt.ran and not attempt.compiled:
        raise InvalidRecord(INVALID_EVENT, "`ran` without `compiled`")
    if attempt.score > 0 and not attempt.ran:
        raise InvalidRecord(INVALID_EVENT, "a score above 0 on an attempt that did not run")
    _unsign_zero(attempt)


def _unsign_zero(event: CodeAttempted | ScoreAssigned) -> None:
    if not event.score:
        msgspec.structs.force_setattr(event, "score", 0.0)  # -0.0 has another fingerprint


def _check_nesting(value: bytes) -> None:
    if value.count(b"[") + value.count(b"{") <= MAX_NESTING:
        return
    depth = 0
    for opening, closing in _TEXT_OR_BRACKET.findall(value):
        depth += bool(opening) - bool(closing)
        if depth > MAX_NESTING:
            raise InvalidRecord(INVALID_EVENT, f"nested deeper than {MAX_NESTING} levels")
