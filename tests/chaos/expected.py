"""What must come of the events topic: the contract's section 3, a second time, over a whole log.

Shares no code with the product; how a run is settled says tests/streams/oracle.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.chaos.ledger import Place
from tests.streams.oracle import settle

Json = dict[str, Any]

SENDERS_STAMPS = ("time", "event_id")
TYPES = ("run.started", "strategy.proposed", "code.attempted", "run.finished", "run.expired")


@dataclass(frozen=True)
class Stored:
    """A record of a topic; `send_id` is None for one that no agent sent."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    send_id: str | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def place(self) -> Place:
        return self.partition, self.offset


@dataclass
class Expected:
    """Rows by their ids, reasons of dead letters by the places of the refused records."""

    outcomes: dict[str, Json] = field(default_factory=dict)
    scored_rows: dict[str, Json] = field(default_factory=dict)
    pairs: dict[str, Json] = field(default_factory=dict)
    letters: dict[Place, str] = field(default_factory=dict)
    open_runs: set[str] = field(default_factory=set)


def expect(log: Iterable[Stored], *, bad: set[str]) -> Expected:
    """Fold a log, by partition and offset; `bad` are the sends that are no events."""
    expected = Expected()
    runs: dict[str, _Run] = {}
    for record in sorted(log, key=lambda each: each.place):
        if record.send_id in bad:
            expected.letters[record.place] = "invalid_event"
            continue
        event = orjson.loads(record.value or b"")
        if event["type"] in TYPES:
            run = runs.setdefault(event["run_id"], _Run(event["run_id"]))
            run.take(event, record.place, expected)
    expected.open_runs = {run.run_id for run in runs.values() if not run.is_settled and run.count}
    return expected


class _Run:
    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.is_settled = False
        self._slots: dict[tuple[Any, ...], Json] = {}
        self._refused: list[Json] = []
        self._end: Json | None = None

    @property
    def count(self) -> int:
        return len(self._slots) + len(self._refused)

    def take(self, event: Json, place: Place, expected: Expected) -> None:
        if self.is_settled:
            if event["type"] != "run.expired" and not self._knows(event):
                expected.letters[place] = "run_settled"
        elif event["type"] == "run.expired":
            if self.count and self.count == event["events"]:
                self._settle(event, "timeout", expected)
        elif event["type"] == "run.finished":
            self._settle(event, "finished", expected)
        elif not self._knows(event):
            self._keep(event, place, expected)

    def _knows(self, event: Json) -> bool:
        standing = [*self._slots.values(), *self._refused, self._end]
        return any(each is not None and _content(each) == _content(event) for each in standing)

    def _keep(self, event: Json, place: Place, expected: Expected) -> None:
        slot, reason = _slot(event)
        if slot in self._slots:
            self._refused.append(event)
            expected.letters[place] = reason
        else:
            self._slots[slot] = event

    def _settle(self, event: Json, by: str, expected: Expected) -> None:
        self.is_settled, self._end = True, event
        rows = settle(self.run_id, list(self._slots.values()), settled_by=by, extended=False)
        expected.outcomes[self.run_id] = rows["outcome"]
        expected.scored_rows |= {row["row_id"]: row for row in rows["scored_rows"]}
        expected.pairs |= {pair["pair_id"]: pair for pair in rows["pairs"]}


def _content(event: Json) -> Json:
    return {name: value for name, value in event.items() if name not in SENDERS_STAMPS}


def _slot(event: Json) -> tuple[tuple[Any, ...], str]:
    if event["type"] == "code.attempted":
        return ("attempt", event["strategy_id"], event["attempt"]), "conflicting_attempt"
    if event["type"] == "strategy.proposed":
        return ("strategy", event["strategy_id"]), "conflicting_strategy"
    return ("start",), "conflicting_start"
