"""Traces as they come in, in pieces and in any order, until each is whole. Pure: time is given.

A trace is whole when its root span is there and nothing more has come for a while; one without a
root is given up after a longer time, and taken as it stands.

What a restart needs is in the positions: reading on from there, it meets every span of the traces
that were not whole, and no part of those that were done, but for the `straddling` ones, which it
is told to pass over. So a trace is mapped from all of its spans, however often it is mapped.

A restart does not know how far those go. It tells them on, for the next restart, until its own
positions are where the log ended when it began.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pairstream.formats.spans import Note, Span

# A topic's partition.
Place = tuple[str, int]

# What fits beside each position, whose metadata may have 4,096 bytes.
MAX_STRADDLING = 100


class Waits(NamedTuple):
    """Seconds: after the last span of a trace with its root, and of one without."""

    quiet: float
    rootless: float


class Position(NamedTuple):
    """Where to read on, and the traces to pass over there."""

    offset: int
    straddling: list[str]


@dataclass(slots=True)
class OpenTrace:
    """The spans of one trace; `extents` has the first and last offset of each place."""

    seen: float
    spans: dict[str, Span] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    extents: dict[Place, tuple[int, int]] = field(default_factory=dict)
    has_root: bool = False

    def cover(self, place: Place, offset: int) -> None:
        first, last = self.extents.get(place, (offset, offset))
        self.extents[place] = (min(first, offset), max(last, offset))


class TraceBook:
    """Every trace that is not whole, and where those that are done still stand in the log."""

    def __init__(
        self,
        waits: Waits,
        passed_over: Mapping[Place, Iterable[str]] | None = None,
        ends: Mapping[Place, int] | None = None,
    ) -> None:
        """Args:
        passed_over: what the bridge before this one was done with, by the place that tells it.
        ends: where the places end of which something is left to read.
        """
        self._waits = waits
        self._passed_over = {
            trace_id: place for place, names in (passed_over or {}).items() for trace_id in names
        }
        self._ends = dict(ends or {})
        self._positions: dict[Place, Position] = {}
        self._open: dict[str, OpenTrace] = {}
        self._done: dict[str, dict[Place, tuple[int, int]]] = {}
        self._next: dict[Place, int] = {}
        self.late = 0

    def __len__(self) -> int:
        return len(self._open)

    def add(self, place: Place, offset: int, items: Iterable[Span | Note], now: float) -> None:
        """What one record holds. A span that is there already changes nothing."""
        self._next[place] = offset + 1
        for item in items:
            trace_id = item.trace_id
            if trace_id in self._done or trace_id in self._passed_over:
                self._come_late(trace_id, place, offset)
                continue
            trace = self._open.get(trace_id)
            if trace is None:
                trace = self._open[trace_id] = OpenTrace(now)
            trace.seen = now
            trace.cover(place, offset)
            if isinstance(item, Note):
                trace.notes.append(item)
            elif item.span_id not in trace.spans:
                trace.spans[item.span_id] = item
                trace.has_root = trace.has_root or item.parent_id is None

    def _come_late(self, trace_id: str, place: Place, offset: int) -> None:
        self.late += 1
        extents = self._done.setdefault(trace_id, {})
        first, last = extents.get(place, (offset, offset))
        extents[place] = (min(first, offset), max(last, offset))

    def whole(self, now: float) -> list[tuple[str, OpenTrace]]:
        """Those that are due, the longest silent first."""
        due = [
            (trace_id, trace)
            for trace_id, trace in self._open.items()
            if now - trace.seen >= (self._waits.quiet if trace.has_root else self._waits.rootless)
        ]
        return sorted(due, key=lambda item: item[1].seen)

    def close(self, trace_id: str) -> None:
        """Its events are acknowledged."""
        self._done[trace_id] = self._open.pop(trace_id).extents

    def positions(self) -> dict[Place, Position]:
        """Where a restart reads on, by place; where it did before while too much straddles."""
        offsets = self._offsets()
        self._ends = {
            place: end for place, end in self._ends.items() if offsets.get(place, 0) < end
        }
        straddling = self._straddling(offsets)
        if max(map(len, straddling.values()), default=0) <= MAX_STRADDLING:
            self._forget(offsets)
            self._positions = {
                place: Position(offset, sorted(straddling.get(place, [])))
                for place, offset in offsets.items()
            }
        return self._positions

    def _offsets(self) -> dict[Place, int]:
        offsets = dict(self._next)
        for trace in self._open.values():
            for place, (first, _) in trace.extents.items():
                offsets[place] = min(offsets[place], first)
        return offsets

    def _straddling(self, offsets: Mapping[Place, int]) -> dict[Place, list[str]]:
        """Done, with spans before the positions and behind them; each told in one place."""
        straddling: defaultdict[Place, list[str]] = defaultdict(list)
        for trace_id, place in self._passed_over.items():
            extents = self._done.get(trace_id, {})
            if self._ends or any(last >= offsets[at] for at, (_, last) in extents.items()):
                straddling[place].append(trace_id)
        for trace_id, extents in self._done.items():
            if (
                trace_id not in self._passed_over
                and any(last >= offsets[place] for place, (_, last) in extents.items())
                and any(first < offsets[place] for place, (first, _) in extents.items())
            ):
                straddling[min(extents)].append(trace_id)
        return straddling

    def _forget(self, offsets: Mapping[Place, int]) -> None:
        """What lies wholly before the positions is not met again, unless it comes late."""
        gone = [
            trace_id
            for trace_id, extents in self._done.items()
            if all(last < offsets[place] for place, (_, last) in extents.items())
        ]
        for trace_id in gone:
            del self._done[trace_id]
