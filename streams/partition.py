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

import msgspec

from schemas.errors import InvalidRecord
from schemas.events import INVALID_EVENT, Event, RunExpired, RunFinished, parse_event
from schemas.rows import Row, SettledBy, encode
from schemas.topics import GARBLE_REQUESTS, PAIRS, RUN_OUTCOMES, SCORED_ROWS, Topic
from streams.pairing import Settlement, settle
from streams.runs import DIGEST_BYTES, AgentEvent, Folded, Run, event_digest

RUN_SETTLED = "run_settled"

_SEPARATOR = b"\x00"
_MARKER = b"settled"

# A marker must fit into a record: a run of more events recognises only so many of them again.
_MARKER_EVENTS = 65_536


class Marker(msgspec.Struct, frozen=True, array_like=True):
    """What remains of a settled run: enough to tell a redelivery from a late event."""

    settled_by: SettledBy
    digests: bytes

    def knows(self, digest: bytes) -> bool:
        place = self.digests.find(digest)
        while place > 0 and place % DIGEST_BYTES:
            place = self.digests.find(digest, place + 1)
        return place >= 0


@dataclass(slots=True)
class OpenRun:
    """A run that is not settled.

    Attributes:
        events: offset and value of each that is not in the state yet.
        keys: of its events in the state.
        seen_ms: when a worker last saw an event of it.
        expiring_at: the count of events for which an expiry has been asked for.
        newest: the offset of its newest event.
    """

    run: Run
    seen_ms: int
    events: list[tuple[int, bytes]] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    expiring_at: int = 0
    newest: int = -1

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


@dataclass(slots=True)
class Effects:
    """What a batch of records asks for, in order.

    Attributes:
        rows: topic, key, value of each row.
        refused: index of the record in the batch, and why it is a dead letter.
        writes: state by key; None removes it.
        skipped: events of unknown types.
    """

    rows: list[tuple[Topic, bytes, bytes]] = field(default_factory=list)
    refused: list[tuple[int, InvalidRecord]] = field(default_factory=list)
    writes: dict[bytes, bytes | None] = field(default_factory=dict)
    settlements: list[Settlement] = field(default_factory=list)
    skipped: int = 0


_marker_encoder = msgspec.msgpack.Encoder()
_marker_decoder = msgspec.msgpack.Decoder(Marker)


class Partition:
    """Every run of one partition, open or settled."""

    def __init__(self, *, extended: bool) -> None:
        self.extended = extended
        self.open: OrderedDict[str, OpenRun] = OrderedDict()
        self.settled: OrderedDict[str, tuple[Marker, int]] = OrderedDict()
        self._touched: dict[str, OpenRun] = {}

    def apply(
        self, records: Iterable[tuple[bytes | None, bytes | None, int]], *, now_ms: int
    ) -> Effects:
        """Fold records (key, value, offset) in the order of the log.

        Guarantee: folding a record again changes nothing. A record that cannot be folded is
        refused and nothing else is touched.
        """
        effects = Effects()
        for index, (key, value, offset) in enumerate(records):
            try:
                event = parse_event(value)
                if event is None:
                    effects.skipped += 1
                    continue
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
            _check_late(event, remembered[0])
            return
        if isinstance(event, RunExpired):
            self._expire(event, offset, now_ms, effects)
        elif isinstance(event, RunFinished):
            self._settle(event, "finished", now_ms, effects)
        else:
            self._take_in(event, value, offset, now_ms)

    def _take_in(self, event: AgentEvent, value: bytes, offset: int, now_ms: int) -> None:
        opened = self.open.get(event.run_id)
        if opened is None:
            opened = self.open[event.run_id] = OpenRun(Run(event.run_id), now_ms)
        else:
            opened.seen_ms = now_ms
            self.open.move_to_end(event.run_id)
        try:
            if opened.run.fold(event) is Folded.DUPLICATE:
                return
        except InvalidRecord:
            # Kept as well, so that the same refusal is known again after a restart.
            self._keep(opened, value, offset)
            raise
        self._keep(opened, value, offset)

    def _keep(self, opened: OpenRun, value: bytes, offset: int) -> None:
        opened.events.append((offset, value))
        opened.newest = offset
        self._touched[opened.run.run_id] = opened

    def _expire(self, event: RunExpired, offset: int, now_ms: int, effects: Effects) -> None:
        opened = self.open.get(event.run_id)
        if opened is None or opened.newest > offset:
            return  # seen before, and it did not settle the run then
        if opened.count == event.events:
            self._settle(event, "timeout", now_ms, effects)

    def _settle(
        self, event: RunFinished | RunExpired, by: SettledBy, now_ms: int, effects: Effects
    ) -> None:
        opened = self.open.pop(event.run_id, None) or OpenRun(Run(event.run_id), now_ms)
        self._touched.pop(event.run_id, None)
        settlement = settle(opened.run, by, extended=self.extended)
        _add_rows(settlement, effects)
        digests = [*opened.run.digests(), event_digest(event)]
        marker = Marker(by, b"".join(digests[-_MARKER_EVENTS:]))
        self.settled[event.run_id] = (marker, now_ms)
        # The marker first: a crash in between must not leave half a run that looks open.
        effects.writes[marker_key(event.run_id)] = _marker_encoder.encode(marker)
        effects.writes.update(dict.fromkeys(opened.keys))

    def silent(self, since_ms: int) -> list[tuple[str, int]]:
        """Runs of which nothing was seen since then, with their counts of events; each once."""
        expired = []
        for run_id, opened in self.open.items():
            if opened.seen_ms > since_ms:
                break
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
            if suffix == _MARKER:
                markers.append((written_ms, run_id, _marker_decoder.decode(value)))
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
            self.open[run_id] = _reopened(run_id, sorted(kept))
        return leftovers


def event_key(run_id: str, offset: int) -> bytes:
    """The state's key of one event of an open run."""
    return f"{run_id}\x00{offset}".encode()


def marker_key(run_id: str) -> bytes:
    """The state's key of a settled run."""
    return run_id.encode() + _SEPARATOR + _MARKER


def split_key(key: bytes) -> tuple[str, bytes]:
    """A state's key as run_id and the rest."""
    run_id, _, suffix = key.rpartition(_SEPARATOR)
    return run_id.decode(), suffix


def _reopened(run_id: str, kept: list[tuple[int, bytes, int]]) -> OpenRun:
    opened = OpenRun(Run(run_id), max(seen for _, _, seen in kept))
    for offset, value, _ in kept:
        event = parse_event(value)
        assert isinstance(event, AgentEvent)
        with suppress(InvalidRecord):  # it was refused before, and stands as refused again
            opened.run.fold(event)
        opened.keys.append(event_key(run_id, offset))
        opened.newest = offset
    return opened


def _check_late(event: Event, marker: Marker) -> None:
    if type(event) is RunExpired or marker.knows(event_digest(event)):
        return
    raise InvalidRecord(RUN_SETTLED, f"the run was settled before ({marker.settled_by})")


def _add_rows(settlement: Settlement, effects: Effects) -> None:
    rows: list[tuple[Topic, Sequence[Row]]] = [
        (SCORED_ROWS, settlement.scored_rows),
        (PAIRS, settlement.pairs),
        (GARBLE_REQUESTS, settlement.garble_requests),
        (RUN_OUTCOMES, [settlement.outcome]),
    ]
    key = settlement.outcome.run_id.encode()
    effects.rows.extend((topic, key, encode(row)) for topic, group in rows for row in group)
    effects.settlements.append(settlement)
