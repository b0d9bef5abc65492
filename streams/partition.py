"""The runs of one partition: what each record does to them. Pure: no clock, no I/O.

State is written as one record for each event of an open run (key: run and offset, value: the
event's bytes as they came) and one marker for each settled run. The value under a key is a
function of the log alone, so a worker that was declared dead and writes once more can only write
what its successor writes too.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from schemas.errors import InvalidRecord
from schemas.events import INVALID_EVENT, Event, RunExpired, RunFinished, parse_event
from schemas.rows import GarbleRequest, Row, SettledBy, encode
from schemas.settings import RUN_MAX_BYTES, PairingSettings
from schemas.topics import (
    GARBLE_REQUESTS,
    MAX_ROW_BYTES,
    PAIRS,
    RUN_OUTCOMES,
    SCORED_ROWS,
    Topic,
)
from streams.garbling import garbled_bytes
from streams.pairing import Redact, Settlement, give_up, settle
from streams.redaction import open_redactor
from streams.redaction_program import Beat, NotRedacted, no_beat
from streams.runs import AgentEvent, Folded, Run, event_digest
from streams.state import MARKER, Marker, decode_marker, event_key, marker_key, split_key

RUN_SETTLED = "run_settled"

# What an event takes in memory beside its text.
EVENT_BYTES = 1024


@dataclass(slots=True)
class OpenRun:
    """A run that is not settled.

    Attributes:
        events: offset and value of each that is not in the state yet.
        keys: of its events in the state.
        seen_ms: when a worker last saw an event of it.
        expiring_at: the count of events for which an expiry has been asked for.
        size: of its events, duplicates aside, with `EVENT_BYTES` for each.
    """

    run: Run
    seen_ms: int
    events: list[tuple[int, bytes]] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    expiring_at: int = 0
    size: int = 0

    def keep(self, offset: int, value: bytes) -> None:
        """An event that is not in the state yet."""
        self.events.append((offset, value))
        self.size += len(value) + EVENT_BYTES

    @property
    def count(self) -> int:
        """Of its events in the log, duplicates aside."""
        return len(self.events) + len(self.keys)

    def write(self, writes: dict[bytes, bytes | None]) -> None:
        """Move what is not in the state yet there."""
        for offset, value in self.events:
            key = event_key(self.run.run_id, offset)
            writes[key] = value
            self.keys.append(key)
        self.events.clear()


# Topic, key and value of each.
Rows = list[tuple[Topic, bytes, bytes]]


@dataclass(slots=True)
class Effects:
    """What a batch of records asks for, in order.

    Attributes:
        refused: index of the record in the batch, and why it is a dead letter.
        writes: state by key; None removes it.
        kinds: events that were known, by class, redeliveries too.
        skipped: events of unknown types.
        ignored: events of runs that were discarded as too large before.
    """

    rows: Rows = field(default_factory=list)
    refused: list[tuple[int, InvalidRecord]] = field(default_factory=list)
    writes: dict[bytes, bytes | None] = field(default_factory=dict)
    settlements: list[Settlement] = field(default_factory=list)
    kinds: dict[type[Event], int] = field(default_factory=dict)
    skipped: int = 0
    ignored: int = 0


class Partition:
    """Every run of one partition, open or settled.

    Attributes:
        size: of the open runs, as `OpenRun.size`.
    """

    def __init__(
        self,
        *,
        extended: bool,
        run_max_bytes: int = RUN_MAX_BYTES,
        redact: Redact | None = None,
    ) -> None:
        """`redact` may raise NotRedacted: the run gives no rows then."""
        self._extended = extended
        self._run_max_bytes = run_max_bytes
        self._redact = redact
        self.size = 0
        self.open: OrderedDict[str, OpenRun] = OrderedDict()
        self.settled: OrderedDict[str, tuple[Marker, int]] = OrderedDict()
        self._touched: dict[str, OpenRun] = {}

    @classmethod
    def by(cls, settings: PairingSettings, *, beat: Beat = no_beat) -> Self:
        """Worker, rebuilding and replay fold by the same settings, or they would not agree.

        `beat` is called again and again while texts are redacted, which may take long.
        """
        redactor = open_redactor(settings)
        return cls(
            extended=settings.pairing_extended,
            run_max_bytes=settings.run_max_bytes,
            redact=redactor and partial(redactor, beat=beat),
        )

    def apply(
        self, records: Iterable[tuple[bytes | None, bytes | None, int]], *, now_ms: int
    ) -> Effects:
        """Fold records (key, value, offset) in the order of the log.

        Guarantee: folding a record again changes nothing. A record that cannot be folded is
        refused and nothing else is touched.
        """
        effects = Effects()
        kinds = effects.kinds
        for index, (key, value, offset) in enumerate(records):
            try:
                event = parse_event(value)
                if event is None:
                    effects.skipped += 1
                    continue
                kind = type(event)
                kinds[kind] = kinds.get(kind, 0) + 1
                if key != event.run_id.encode():
                    raise InvalidRecord(INVALID_EVENT, "the record's key is not its run_id")
                assert value is not None
                self._fold(event, value, offset, now_ms, effects)
            except InvalidRecord as error:
                effects.refused.append((index, error))
        # Only now, so that what begins and ends within a batch is never written.
        for opened in self._touched.values():
            opened.write(effects.writes)
        self._touched.clear()
        return effects

    def _fold(self, event: Event, value: bytes, offset: int, now_ms: int, effects: Effects) -> None:
        remembered = self.settled.get(event.run_id)
        if remembered is not None:
            effects.ignored += _is_ignored(event, remembered[0])
            return
        if isinstance(event, RunExpired):
            self._expire(event, now_ms, effects)
        elif isinstance(event, RunFinished):
            self._settle(event, "finished", now_ms, effects)
        else:
            self._take_in(event, value, offset, now_ms, effects)

    def _take_in(
        self, event: AgentEvent, value: bytes, offset: int, now_ms: int, effects: Effects
    ) -> None:
        opened = self.open.get(event.run_id)
        if opened is None:
            opened = self.open[event.run_id] = OpenRun(Run(event.run_id), now_ms)
        else:
            opened.seen_ms = now_ms
            self.open.move_to_end(event.run_id)
        refusal = None
        try:
            if opened.run.fold(event) is Folded.DUPLICATE:
                return
        except InvalidRecord as error:
            # Kept as well, so that the same refusal is known again after a restart.
            refusal = error
        opened.keep(offset, value)
        self.size += len(value) + EVENT_BYTES
        if opened.size > self._run_max_bytes or len(value) > MAX_ROW_BYTES:
            self._settle(event, "limit", now_ms, effects)
        else:
            self._touched[event.run_id] = opened
        if refusal is not None:
            raise refusal

    def _expire(self, event: RunExpired, now_ms: int, effects: Effects) -> None:
        opened = self.open.get(event.run_id)
        # Events that came since undo it; fewer are left where retention took the oldest ones.
        if opened is not None and opened.count <= event.events:
            self._settle(event, "timeout", now_ms, effects)

    def _settle(self, event: Event, by: SettledBy, now_ms: int, effects: Effects) -> None:
        opened = self.open.pop(event.run_id, None) or OpenRun(Run(event.run_id), now_ms)
        self._touched.pop(event.run_id, None)
        self.size -= opened.size
        settlement, rows = self._rows(opened, by)
        effects.settlements.append(settlement)
        effects.rows += rows
        marker = self._marker(opened.run, event, by)
        self.settled[event.run_id] = (marker, now_ms)
        # The marker first: a crash in between must not leave half a run that looks open.
        effects.writes[marker_key(event.run_id)] = marker.encode()
        effects.writes.update(dict.fromkeys(opened.keys))

    def _marker(self, run: Run, last: Event, by: SettledBy) -> Marker:
        return Marker.of(run, last, by)

    def _settlement(self, run: Run, by: SettledBy, *, scored: bool = True) -> Settlement:
        """Of a run that is not too large."""
        try:
            return settle(run, by, extended=self._extended, scored=scored, redact=self._redact)
        except NotRedacted:
            return give_up(run, by, "not_redacted")

    def _rows(self, opened: OpenRun, by: SettledBy) -> tuple[Settlement, Rows]:
        run = opened.run
        if by != "limit":
            settlement = self._settlement(run, by)
            rows = _encoded(settlement, self._run_max_bytes)
            if rows is not None:
                return settlement, rows
        settlement = give_up(run, by)
        return settlement, [(RUN_OUTCOMES, run.run_id.encode(), encode(settlement.outcome))]

    def silent(self, since_ms: int, *, excess: int = 0) -> list[tuple[str, int]]:
        """Runs of which nothing was seen since then, with their counts of events; each once.

        Args:
            excess: the size of open runs that must go, the longest silent ones first.
        """
        expired = []
        for run_id, opened in self.open.items():
            if opened.seen_ms > since_ms and excess <= 0:
                break
            excess -= opened.size
            if opened.expiring_at != opened.count:
                opened.expiring_at = opened.count
                expired.append((run_id, opened.count))
        return expired

    def forget(self, before_ms: int) -> dict[bytes, bytes | None]:
        """Drop the markers of runs that were settled before then; returns the state to remove."""
        writes: dict[bytes, bytes | None] = {}
        while self.settled:
            run_id, (_, settled_ms) = next(iter(self.settled.items()))
            if settled_ms >= before_ms:
                break
            del self.settled[run_id]
            writes[marker_key(run_id)] = None
        return writes

    def restore(self, state: Iterable[tuple[bytes, bytes, int]]) -> dict[bytes, bytes | None]:
        """Take over the state of a predecessor: key, value, time of writing in ms, in any order.

        Returns: state to remove, which a predecessor left when it died while settling.
        """
        events: dict[str, list[tuple[int, bytes, int]]] = {}
        markers: list[tuple[int, str, Marker]] = []
        for key, value, written_ms in state:
            run_id, suffix = split_key(key)
            if suffix == MARKER:
                markers.append((written_ms, run_id, decode_marker(value)))
            else:
                events.setdefault(run_id, []).append((int(suffix), value, written_ms))
        for written_ms, run_id, marker in sorted(markers, key=lambda item: item[:2]):
            self.settled[run_id] = (marker, written_ms)
        leftovers: dict[bytes, bytes | None] = {
            event_key(run_id, offset): None
            for run_id in events.keys() & self.settled.keys()
            for offset, _, _ in events.pop(run_id)
        }
        by_silence = sorted(events.items(), key=lambda item: max(seen for _, _, seen in item[1]))
        for run_id, kept in by_silence:
            self.open[run_id] = opened = _reopened(run_id, sorted(kept))
            self.size += opened.size
        return leftovers


def _reopened(run_id: str, kept: list[tuple[int, bytes, int]]) -> OpenRun:
    opened = OpenRun(Run(run_id), max(seen for _, _, seen in kept))
    for offset, value, _ in kept:
        event = parse_event(value)
        assert isinstance(event, AgentEvent)
        with suppress(InvalidRecord):  # it was refused before, and stands as refused again
            opened.run.fold(event)
        opened.keep(offset, value)
    opened.write({})
    return opened


def _is_ignored(event: Event, marker: Marker) -> bool:
    """Whether the run's outcome has told of what still comes: it was too large.

    Raises: InvalidRecord (`run_settled`) for what was not seen before the run was settled.
    """
    if marker.settled_by == "limit":
        return True
    if type(event) is RunExpired or marker.knows(event_digest(event)):
        return False
    raise InvalidRecord(RUN_SETTLED, f"the run was settled before ({marker.settled_by})")


def _encoded(settlement: Settlement, max_bytes: int) -> Rows | None:
    """The rows in the order in which they are sent; None when they are larger than they may be."""
    groups: tuple[tuple[Topic, Sequence[Row]], ...] = (
        (SCORED_ROWS, settlement.scored_rows),
        (PAIRS, settlement.pairs),
        (GARBLE_REQUESTS, settlement.garble_requests),
        (RUN_OUTCOMES, [settlement.outcome]),
    )
    key = settlement.outcome.run_id.encode()
    rows = []
    size = 0
    for topic, group in groups:
        for row in group:
            value = encode(row)
            size += len(value)
            if size > max_bytes or _record_bytes(row, value) > MAX_ROW_BYTES:
                return None
            rows.append((topic, key, value))
    return rows


def _record_bytes(row: Row, value: bytes) -> int:
    """Of the largest record that the row becomes: a request has its garbled side still to come."""
    if type(row) is GarbleRequest:
        return len(value) + garbled_bytes(row)
    return len(value)
