"""What the contract's section 3 makes of a partition's events, written a second time: each record
is taken in, a duplicate, refused, or ends its run. Shares no code with the worker's fold.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pairstream.verify.events import NotAnEvent, read_event
from pairstream.verify.expected import Json
from schemas.settings import RUN_MAX_BYTES
from schemas.topics import MAX_ROW_BYTES

Verdict = Literal[
    "taken_in", "settles", "duplicate", "invalid_event", "conflicting_start",
    "conflicting_strategy", "conflicting_attempt", "conflicting_score", "run_settled",
    "unknown_type", "overtaken", "beyond_limit",
]  # fmt: skip

REFUSALS: dict[str, Verdict] = {
    "run.started": "conflicting_start",
    "strategy.proposed": "conflicting_strategy",
    "code.attempted": "conflicting_attempt",
    "score.assigned": "conflicting_score",
}
REFUSED = frozenset({"invalid_event", "run_settled", *REFUSALS.values()})

# An event counts as its bytes and this much.
EVENT_BYTES = 1024

# What a sender that tries again may say differently.
STAMPS = ("time", "event_id", "run_id", "by")


class EventRecord(NamedTuple):
    """One record of the events topic; the timestamp is the log's, in ms since 1970."""

    key: bytes | None
    value: bytes | None
    offset: int
    timestamp_ms: int


@dataclass
class OpenRun:
    """A run that has not ended.

    Attributes:
        said: what stands in each place (its start, a strategy, an attempt, a score), as a digest.
        refused: digests of what said otherwise.
        kept: offset and value of all that was new, the refused ones included.
        size: of all that is kept.
        is_whole: whether no event of it can be missing at the log's beginning.
    """

    is_whole: bool
    size: int = 0
    events: list[Json] = field(default_factory=list)
    said: dict[tuple[object, ...], bytes] = field(default_factory=dict)
    refused: set[bytes] = field(default_factory=set)
    kept: list[tuple[int, bytes]] = field(default_factory=list)
    last_offset: int = -1

    def keep(self, record: EventRecord) -> None:
        value = record.value or b""
        self.kept.append((record.offset, value))
        self.size += len(value) + EVENT_BYTES


class EndedRun(NamedTuple):
    """What must be remembered of a run that has ended, and where it ended."""

    is_whole: bool
    offset: int
    said: frozenset[bytes]
    was_too_large: bool


class Settled(NamedTuple):
    """A run that ends here, with its events in the order of arrival."""

    run_id: str
    events: list[Json]
    settled_by: str
    is_whole: bool
    offset: int
    timestamp_ms: int


class PartitionLog:
    """The runs of one partition; `is_complete`: nothing of the log's beginning is missing."""

    def __init__(
        self,
        *,
        is_complete: bool,
        on_settled: Callable[[Settled], None],
        run_max_bytes: int = RUN_MAX_BYTES,
    ) -> None:
        self.open: dict[str, OpenRun] = {}
        self.ended: dict[str, EndedRun] = {}
        self.verdicts: Counter[Verdict] = Counter()
        self._is_complete = is_complete
        self._on_settled = on_settled
        self._run_max_bytes = run_max_bytes

    def take(self, record: EventRecord) -> tuple[Verdict, bool]:
        """The verdict on the log's next record, and whether it is certain: it is not where the
        run's beginning may be missing.
        """
        try:
            event = read_event(record.value)
        except NotAnEvent:
            event = {}
        if event is None:
            verdict, is_certain = self._count("unknown_type"), True
        elif not event or record.key != event["run_id"].encode():
            verdict, is_certain = self._count("invalid_event"), True
        else:
            verdict = self._count(self._fold(event, record))
            is_certain = self.is_whole(event["run_id"])
        return verdict, is_certain

    def is_whole(self, run_id: str) -> bool:
        """Whether all of a run that was seen here is known."""
        run = self.open.get(run_id) or self.ended.get(run_id)
        return run is not None and run.is_whole

    def _count(self, verdict: Verdict) -> Verdict:
        self.verdicts[verdict] += 1
        return verdict

    def _fold(self, event: Json, record: EventRecord) -> Verdict:
        run_id, kind = event["run_id"], event["type"]
        ended = self.ended.get(run_id)
        if ended is not None:
            return _verdict_on_late(event, ended)
        if kind == "run.expired":
            run = self.open.get(run_id)
            if run is None or len(run.kept) > event["events"]:
                return "overtaken"
            self._settle(event, record, "timeout")
            return "settles"
        if kind == "run.finished":
            self._settle(event, record, "finished")
            return "settles"
        run = self.open.setdefault(run_id, self._new_run(event))
        verdict = _take_in(event, record, run)
        if run.size > self._run_max_bytes or len(record.value or b"") > MAX_ROW_BYTES:
            self._settle(event, record, "limit")
        return verdict

    def _new_run(self, event: Json) -> OpenRun:
        return OpenRun(is_whole=self._is_complete or event["type"] == "run.started")

    def _settle(self, event: Json, record: EventRecord, settled_by: str) -> None:
        run_id = event["run_id"]
        run = self.open.pop(run_id, None) or self._new_run(event)
        known = frozenset({*run.said.values(), *run.refused, _digest(event)})
        self.ended[run_id] = EndedRun(run.is_whole, record.offset, known, settled_by == "limit")
        self._on_settled(
            Settled(
                run_id, run.events, settled_by, run.is_whole, record.offset, record.timestamp_ms
            )
        )


def _verdict_on_late(event: Json, ended: EndedRun) -> Verdict:
    if ended.was_too_large:
        return "beyond_limit"
    if event["type"] == "run.expired":
        return "overtaken"
    return "duplicate" if _digest(event) in ended.said else "run_settled"


def _take_in(event: Json, record: EventRecord, run: OpenRun) -> Verdict:
    run.last_offset = record.offset
    place = (event["type"], event.get("strategy_id"), event.get("attempt"))
    digest = _digest(event)
    standing = run.said.setdefault(place, digest)
    if standing is not digest:
        if standing == digest or digest in run.refused:
            return "duplicate"
        run.refused.add(digest)
        run.keep(record)
        return REFUSALS[event["type"]]
    run.events.append(event)
    run.keep(record)
    return "taken_in"


def _digest(event: Json) -> bytes:
    """Equal for events that say the same, whenever they were sent."""
    content = {name: value for name, value in event.items() if name not in STAMPS}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()[:16]
