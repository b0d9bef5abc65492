"""The rows that come out: pairs, scored rows, outcomes, garble requests, steps of trainings.

Contract, section 4.3. Fields stand in the contract's order; `encode` gives the canonical bytes.
"""

import hashlib
from datetime import datetime
from typing import Annotated, Literal, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from schemas.errors import InvalidRecord
from schemas.events import Message, unquoted
from schemas.json_errors import JSON_ERRORS

INVALID_ROW = "invalid_row"

PairRule = Literal["first_time_strategy", "first_time_code", "mixed_code", "strategy_contrast"]
ScoredRowKind = Literal[
    "strategy_without_effect", "strategy_not_runnable", "code_success", "strategy_success"
]
# Those of what worked, whose score is above 0; that of the others is 0.
SUCCESS_KINDS: frozenset[ScoredRowKind] = frozenset({"code_success", "strategy_success"})
DiscardReason = Literal[
    "incomplete",
    "void",
    "no_runnable_code",
    "never_succeeded",
    "no_shared_prompt",
    "too_large",
    "not_redacted",
]
# `limit`: by the event that made the run larger than a worker may hold.
SettledBy = Literal["finished", "timeout", "limit"]
# `schemas.training_states` says which may follow which.
TrainingStepName = Literal[
    "requested",
    "building",
    "started",
    "progress",
    "finished",
    "gated",
    "archived",
    "promoted",
    "refused",
    "cleaned",
    "succeeded",
    "failed",
    "rolled_back",
]

# What these tell is of `latest`, the model to be served: that it came to point at the training
# (`rolled_back`: again), or, after a success, did not.
LATEST_STEPS: frozenset[TrainingStepName] = frozenset({"promoted", "refused", "rolled_back"})


Distance = Annotated[
    float, Meta(ge=0, le=1, description="How far a model's garbled text is from the good one.")
]


class Pair(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A preference row as TRL takes it; prompt, chosen and rejected are chat messages.

    `garbled_distance` stands only in rows whose garbled side a model wrote: all others keep the
    bytes of the contract.
    """

    pair_id: str
    run_id: str
    strategy_id: str
    rule: PairRule
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    chosen_score: float | None
    rejected_score: float | None
    chosen_attempt: int | None
    rejected_attempt: int | None
    garbler: str | None
    agent_id: str | None
    task_id: str | None
    policy_id: str | None
    garbled_distance: Distance | UnsetType = UNSET


class ScoredRow(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One response with its score; `attempt` is null where the row stands for a whole strategy
    that never succeeded.
    """

    row_id: str
    run_id: str
    strategy_id: str
    kind: ScoredRowKind
    attempt: int | None
    prompt: list[Message]
    response: list[Message]
    score: float
    agent_id: str | None
    task_id: str | None
    policy_id: str | None


class Outcome(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """How a run was settled and why; exactly one for each run that was seen.

    `attempts` counts the void ones too; `reason` is null when the run is `paired`. Of a run that
    is `too_large` the counts are those at its settling.
    """

    run_id: str
    outcome: Literal["paired", "discarded"]
    reason: DiscardReason | None
    strategies: int
    attempts: int
    successes: int
    void: int
    pairs: int
    scored_rows: int
    settled_by: SettledBy
    agent_id: str | None
    task_id: str | None
    policy_id: str | None


class GarbleRequest(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A pair whose rejected side is still to be made; `response` says what is to be garbled."""

    response: Literal["strategy", "code"]
    pair: Pair


class TrainingStep(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One step in the life of a training; `detail` is for people."""

    training_id: str
    step: TrainingStepName
    time: datetime
    dataset: str
    dataset_sha256: str
    detail: str | None = None


T = TypeVar("T")

Row = Pair | ScoredRow | Outcome | GarbleRequest | TrainingStep

_encoder = msgspec.json.Encoder()
_pair_decoder = msgspec.json.Decoder(Pair)
_scored_row_decoder = msgspec.json.Decoder(ScoredRow)
_garble_request_decoder = msgspec.json.Decoder(GarbleRequest)


def encode(row: Row) -> bytes:
    """Compact UTF-8 JSON, fields in declared order: the same row gives the same bytes."""
    return _encoder.encode(row)


def user_message(content: str) -> list[Message]:
    """A prompt of one message."""
    return [Message("user", content)]


def assistant_message(content: str) -> list[Message]:
    """A response: one message of the assistant."""
    return [Message("assistant", content)]


def hashed_id(*parts: str | int | None) -> str:
    """The contract's id: 32 hexadecimal digits of SHA-256 over the parts joined by U+001F."""
    text = "\x1f".join(["" if part is None else str(part) for part in parts])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def pair_id(
    run_id: str,
    strategy_id: str,
    rule: PairRule,
    chosen_attempt: int | None,
    rejected_attempt: int | None,
) -> str:
    """A function of the input alone, so that a replay gives the same ids."""
    return hashed_id(run_id, strategy_id, rule, chosen_attempt, rejected_attempt)


def parse_pair(value: bytes | None) -> Pair:
    """Decode one record of the pairs topic.

    Raises: InvalidRecord (`invalid_row`), also when the id is not the one that its fields give:
    the id decides what is a duplicate, so a wrong one would lose another pair.
    """
    pair = _parse(value, _pair_decoder)
    expected = pair_id(
        pair.run_id, pair.strategy_id, pair.rule, pair.chosen_attempt, pair.rejected_attempt
    )
    for side in (pair.chosen, pair.rejected):
        if [message.role for message in side] != ["assistant"]:
            raise InvalidRecord(INVALID_ROW, "a side is not one message of the assistant")
    if pair.pair_id != expected:
        raise InvalidRecord(INVALID_ROW, f"pair_id is not {expected}, which its fields give")
    return pair


def row_id(run_id: str, strategy_id: str, kind: ScoredRowKind, attempt: int | None) -> str:
    """That of a scored row: a function of the input alone, as `pair_id`."""
    return hashed_id(run_id, strategy_id, kind, attempt)


def parse_scored_row(value: bytes | None) -> ScoredRow:
    """Decode one record of the scored rows.

    Raises: InvalidRecord (`invalid_row`), also when its id or its score is not that of its fields:
    the id decides what is a duplicate, and the score what is good.
    """
    row = _parse(value, _scored_row_decoder)
    if [message.role for message in row.response] != ["assistant"]:
        raise InvalidRecord(INVALID_ROW, "the response is not one message of the assistant")
    expected = row_id(row.run_id, row.strategy_id, row.kind, row.attempt)
    if row.row_id != expected:
        raise InvalidRecord(INVALID_ROW, f"row_id is not {expected}, which its fields give")
    is_success = row.kind in SUCCESS_KINDS
    if row.score < 0 or (row.score > 0) != is_success:
        raise InvalidRecord(INVALID_ROW, f"{row.score} is no score of {row.kind}")
    return row


class _AnyStep(Struct, frozen=True):
    step: str


_training_step_decoder = msgspec.json.Decoder(TrainingStep)
_any_step_decoder = msgspec.json.Decoder(_AnyStep)


def parse_training_step(value: bytes | None) -> TrainingStep | None:
    """Decode one record of the trainings topic; None for a step that only a newer version knows.

    Raises: InvalidRecord (`invalid_row`).
    """
    if _parse(value, _any_step_decoder).step not in get_args(TrainingStepName):
        return None
    return _parse(value, _training_step_decoder)


def parse_garble_request(value: bytes | None) -> GarbleRequest:
    """Decode one record of the garble requests. Raises: InvalidRecord (`invalid_row`)."""
    request = _parse(value, _garble_request_decoder)
    if [message.role for message in request.pair.chosen] != ["assistant"]:
        raise InvalidRecord(INVALID_ROW, "there is no response to garble")
    return request


def _parse(value: bytes | None, decoder: msgspec.json.Decoder[T]) -> T:
    if value is None:
        raise InvalidRecord(INVALID_ROW, "the record has no value")
    try:
        return decoder.decode(value)
    except JSON_ERRORS as error:
        raise InvalidRecord(INVALID_ROW, unquoted(error)) from error
