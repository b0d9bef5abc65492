"""What each event of one run says, and what it did to the run. Pure: folds as the worker does."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Literal, NamedTuple, assert_never

import msgspec
from msgspec import Struct

from pairstream.terminal import counted, moment, shortened
from schemas.errors import InvalidRecord
from schemas.events import (
    CodeAttempted,
    Event,
    Prompts,
    RunExpired,
    RunFinished,
    RunStarted,
    ScoreAssigned,
    StrategyProposed,
    parse_event,
)
from schemas.json_errors import JSON_ERRORS
from schemas.settings import WorkerSettings
from streams.partition import Effects, Partition

TEXT_WIDTH = 60

Verdict = Literal[
    "taken_in", "settles", "duplicate", "refused", "unknown_type", "overtaken", "beyond_limit"
]


class EventRecord(NamedTuple):
    """One record of the events topic; the timestamp is the log's, in ms since 1970."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


class EventFacts(Struct, frozen=True, kw_only=True):
    """One event of the run.

    `verdict`: `taken_in` new to the run; `settles` ends it; `duplicate` says what was said before;
    `refused` for `reason`; `unknown_type` skipped; `overtaken` an expiry that came to nothing;
    `beyond_limit` ignored, because the run was too large before.
    `committed`: the workers have done with it. `dead_letter`: its topic/partition/offset there.
    `content`: the event itself, or its text if it is none; null unless texts were asked for.
    """

    partition: int
    offset: int
    time: datetime
    type: str | None
    says: str
    verdict: Verdict
    reason: str | None
    detail: str | None
    committed: bool
    dead_letter: str | None
    content: object | None


class Folded(NamedTuple):
    """An event as it stands in the log, and what it did to its run."""

    record: EventRecord
    event: Event | None
    verdict: Verdict
    refusal: InvalidRecord | None


class Fate(Struct, frozen=True):
    """How the run stands at the end of its events; `missing` is what would make it incomplete."""

    state: Literal["open", "settled", "never_began"]
    taken_in: int
    last_seen: datetime | None
    missing: list[str]


def fold_events(
    records: Iterable[EventRecord], settings: WorkerSettings
) -> tuple[list[Folded], dict[int, Partition]]:
    """Each record in the order of its partition, by the workers' settings."""
    memory_ms = int(settings.settled_run_memory_seconds * 1000)
    partitions: dict[int, Partition] = defaultdict(lambda: Partition.by(settings))
    folded = []
    for record in records:
        runs = partitions[record.partition]
        runs.forget(record.timestamp_ms - memory_ms)
        line = (record.key, record.value, record.offset)
        effects = runs.apply([line], now_ms=record.timestamp_ms)
        refusal = effects.refused[0][1] if effects.refused else None
        event = _parsed(record.value)
        folded.append(Folded(record, event, _verdict(event, effects), refusal))
    return folded, partitions


def _parsed(value: bytes | None) -> Event | None:
    try:
        return parse_event(value)
    except InvalidRecord:
        return None


def _verdict(event: Event | None, effects: Effects) -> Verdict:
    if effects.refused:
        return "refused"
    if effects.skipped:
        return "unknown_type"
    if effects.ignored:
        return "beyond_limit"
    if effects.settlements:
        return "settles"
    if effects.writes:
        return "taken_in"
    return "overtaken" if isinstance(event, RunExpired) else "duplicate"


def fate_of(run_id: str, folded: list[Folded], partitions: dict[int, Partition]) -> Fate:
    """Where the run stands, by what its events did."""
    taken_in = [item.event for item in folded if item.verdict == "taken_in"]
    opened = [runs.open[run_id] for runs in partitions.values() if run_id in runs.open]
    last_seen = moment(max(run.seen_ms for run in opened)) if opened else None
    state: Literal["open", "settled", "never_began"] = "never_began"
    if opened:
        state = "open"
    elif any(item.verdict == "settles" for item in folded):
        state = "settled"
    return Fate(state, len(taken_in), last_seen, _missing(taken_in))


def _missing(events: list[Event | None]) -> list[str]:
    proposed = {event.strategy_id for event in events if isinstance(event, StrategyProposed)}
    attempted = {event.strategy_id for event in events if isinstance(event, CodeAttempted)}
    has_started = any(isinstance(event, RunStarted) for event in events)
    missing = [] if has_started else ["run.started"]
    missing += [f"strategy.proposed for {name}" for name in sorted(attempted - proposed)]
    return missing + [
        f"code.attempted {attempt} for {name}" for name, attempt in sorted(_scored_only(events))
    ]


def _scored_only(events: list[Event | None]) -> set[tuple[str, int]]:
    """Attempts that were given a score and are not there."""
    scored = {(e.strategy_id, e.attempt) for e in events if isinstance(e, ScoreAssigned)}
    return scored - {(e.strategy_id, e.attempt) for e in events if isinstance(e, CodeAttempted)}


def event_facts(
    item: Folded, *, committed: bool, dead_letter: str | None, full: bool
) -> EventFacts:
    record, event, refusal = item.record, item.event, item.refusal
    return EventFacts(
        partition=record.partition,
        offset=record.offset,
        time=moment(record.timestamp_ms),
        type=_type(event, record.value),
        says=_says(event) if event is not None else "",
        verdict=item.verdict,
        reason=refusal.reason if refusal else None,
        detail=refusal.detail if refusal else None,
        committed=committed,
        dead_letter=dead_letter,
        content=_content(event, record.value) if full else None,
    )


class _Typed(Struct):
    type: str


_typed_decoder = msgspec.json.Decoder(_Typed)


def _type(event: Event | None, value: bytes | None) -> str | None:
    if event is not None:
        return str(event.__struct_config__.tag)
    try:
        return _typed_decoder.decode(value or b"").type
    except JSON_ERRORS:
        return None


def _content(event: Event | None, value: bytes | None) -> object:
    """The event's fields, or the text of what is no event."""
    if event is not None:
        return msgspec.to_builtins(event)
    return (value or b"").decode(errors="backslashreplace")


def _says(event: Event) -> str:
    """In short; the agent's texts at most in part, and code never."""
    match event:
        case RunStarted():
            return _run_started(event)
        case StrategyProposed():
            own = ", with prompts of its own" if event.prompts else ""
            return f"{event.strategy_id}: “{shortened(event.strategy, TEXT_WIDTH)}”{own}"
        case CodeAttempted():
            return _code_attempted(event)
        case ScoreAssigned():
            by = f" by {shortened(event.by, TEXT_WIDTH)}" if event.by else ""
            return (
                f"{event.strategy_id} attempt {event.attempt}: score {event.score:g} assigned{by}"
            )
        case RunFinished():
            return "the agent is done"
        case RunExpired():
            return f"silent for the run timeout after {counted(event.events, 'event')}"
        case _:
            assert_never(event)


def _run_started(event: RunStarted) -> str:
    named = (("agent", event.agent_id), ("task", event.task_id), ("policy", event.policy_id))
    parts = [f"{what} {name}" for what, name in named if name is not None]
    parts.append(counted(_messages(event.prompts), "prompt message"))
    parts.append(counted(len(event.new_sp_egc_s or []), "environment getter"))
    return ", ".join(parts)


def _messages(prompts: Prompts) -> int:
    return len(prompts.full())


def _code_attempted(event: CodeAttempted) -> str:
    if event.fault is not None:
        result = f"void ({event.fault})"
    elif event.is_success:
        result = f"success, score {event.score:g}"
    elif event.ran:
        result = "failure: ran, score 0"
    else:
        result = f"failure: {'compiled, did not run' if event.compiled else 'did not compile'}"
    error = f", error “{shortened(event.error, TEXT_WIDTH)}”" if event.error else ""
    size = counted(event.code.count("\n") + 1, "line")
    return f"{event.strategy_id} attempt {event.attempt}: {result}, {size} of code{error}"
