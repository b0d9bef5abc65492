"""A worker that dies anywhere and starts over gives what one that never died gives.

The model of a death: rows of any number of batches may be out, the state of the finished ones and
any first part of the next one's is written, and the committed offset is anywhere at or before the
end of what was finished.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import INVALID_EVENT
from schemas.rows import DiscardReason, PairRule, ScoredRowKind, SettledBy
from streams.partition import EVENT_BYTES, RUN_SETTLED, Partition
from streams.runs import CONFLICTING_ATTEMPT, CONFLICTING_START, CONFLICTING_STRATEGY
from tests.streams import oracle
from tests.streams.histories import RULES, UNSHRUNK, JsonEvent, Record, Rules, logs

COLUMNS = ("rule", "kind", "reason", "settled_by")

Row = tuple[str, bytes, bytes]
Letter = tuple[int, str]
State = dict[bytes, bytes]


@dataclass
class Seen:
    """What the brokers have: rows, dead letters by offset, state."""

    rows: list[Row] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    state: State = field(default_factory=dict)

    def write(self, writes: Sequence[tuple[bytes, bytes | None]]) -> None:
        for key, value in writes:
            self.state.pop(key, None)
            if value is not None:
                self.state[key] = value


def fold(runs: Partition, batch: Sequence[Record], seen: Seen) -> list[tuple[bytes, bytes | None]]:
    """Fold a batch and send its rows; the state is the caller's to write."""
    effects = runs.apply([record.parts for record in batch], now_ms=0)
    seen.rows += [(topic.name, key, value) for topic, key, value in effects.rows]
    seen.letters += [(batch[place].offset, error.reason) for place, error in effects.refused]
    return list(effects.writes.items())


def uninterrupted(log: Sequence[Record], *, rules: Rules) -> Seen:
    seen = Seen()
    seen.write(fold(Partition(**rules), log, seen))
    return seen


def cut(draw: Any, log: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """The log in batches of any size."""
    places = sorted(draw(st.sets(st.integers(1, max(1, len(log) - 1)), max_size=4)))
    for start, end in zip([0, *places], [*places, len(log)], strict=True):
        if log[start:end]:
            yield log[start:end]


@UNSHRUNK
@given(st.data(), logs(), RULES)
def test_batches_cut_anywhere_give_the_same(
    data: st.DataObject, log: list[Record], rules: Rules
) -> None:
    whole, pieces = uninterrupted(log, rules=rules), Seen()
    runs = Partition(**rules)
    for batch in cut(data.draw, log):
        pieces.write(fold(runs, batch, pieces))

    assert pieces == whole


@UNSHRUNK
@given(logs(), RULES)
def test_log_delivered_twice_gives_no_row_twice(log: list[Record], rules: Rules) -> None:
    whole, twice = uninterrupted(log, rules=rules), Seen()
    runs = Partition(**rules)
    twice.write(fold(runs, log, twice))
    twice.write(fold(runs, log, twice))

    assert twice.rows == whole.rows
    assert twice.state == whole.state
    assert set(twice.letters) == set(whole.letters)


def live(data: st.DataObject, log: list[Record], seen: Seen, *, done: int, rules: Rules) -> int:
    """One life that ends in a crash; returns how many records are in the state for good."""
    start = data.draw(st.integers(0, done), label="committed offset")
    batches = list(cut(data.draw, log[start:]))
    runs = Partition(**rules)
    state = data.draw(st.permutations(list(seen.state.items())))
    leftovers = list(runs.restore((key, value, 0) for key, value in state).items())
    finished = data.draw(st.integers(0, len(batches)), label="finished batches")
    sent = data.draw(st.integers(finished, len(batches)), label="batches with rows sent")
    writes = [fold(runs, batch, seen) for batch in batches[:sent]]
    for batch, of_batch in zip(batches[:finished], writes[:finished], strict=True):
        seen.write(leftovers + of_batch)
        leftovers = []
        start += len(batch)
    if sent > finished:
        torn = leftovers + writes[finished]
        seen.write(torn[: data.draw(st.integers(0, len(torn)), label="torn state")])
    return max(done, start)


@UNSHRUNK
@given(st.data(), logs(), RULES)
def test_killed_worker_adds_no_row_and_loses_none(
    data: st.DataObject, log: list[Record], rules: Rules
) -> None:
    whole, seen, done = uninterrupted(log, rules=rules), Seen(), 0
    for _ in range(data.draw(st.integers(1, 3), label="crashes")):
        done = live(data, log, seen, done=done, rules=rules)

    last = Partition(**rules)
    leftovers = last.restore((key, value, 0) for key, value in seen.state.items())
    start = data.draw(st.integers(0, done), label="committed offset")
    seen.write([*leftovers.items(), *fold(last, log[start:], seen)])

    assert set(seen.rows) == set(whole.rows)
    assert set(seen.letters) == set(whole.letters)
    assert seen.state == whole.state


@UNSHRUNK
@given(logs(), RULES)
def test_rows_have_one_value_for_each_id(log: list[Record], rules: Rules) -> None:
    rows = uninterrupted(log, rules=rules).rows
    ids = Counter(_id(json.loads(value)) for _, _, value in rows)

    assert set(ids.values()) <= {1}


def _id(row: JsonEvent) -> str:
    row = row.get("pair", row)
    return str(row.get("pair_id") or row.get("row_id") or "outcome of " + row["run_id"])


@UNSHRUNK
@given(logs(), RULES)
def test_each_run_of_a_log_is_settled_once_as_the_contract_says(
    log: list[Record], rules: Rules
) -> None:
    rows = uninterrupted(log, rules=rules).rows
    outcomes = [json.loads(value) for name, _, value in rows if "outcomes" in name]
    expected = [
        oracle.settle(run_id, events, settled_by=by, **rules)["outcome"]
        for run_id, (events, by) in ends(log, rules["run_max_bytes"]).items()
    ]

    def by_run(outcome: JsonEvent) -> str:
        return str(outcome["run_id"])

    assert sorted(outcomes, key=by_run) == sorted(expected, key=by_run)


def ends(log: Sequence[Record], most: int) -> dict[str, tuple[list[JsonEvent], str]]:
    """What each run had when it ended, and how: by its finish, an expiry that counts right, or by
    what made it larger than it may be.
    """
    events: dict[str, list[JsonEvent]] = {}
    said: dict[str, dict[str, int]] = {}
    ended: dict[str, tuple[list[JsonEvent], str]] = {}
    for record in log:
        event = _readable(record)
        if event is None or event["run_id"] in ended:
            continue
        run_id = event["run_id"]
        so_far = events.setdefault(run_id, [])
        different = said.setdefault(run_id, {})
        if event["type"] == "run.finished":
            ended[run_id] = (so_far, "finished")
        elif event["type"] == "run.expired":
            if len(different) == event["events"]:
                ended[run_id] = (so_far, "timeout")
        else:
            so_far.append(event)
            content = {**event, "time": None, "event_id": None}
            size = len(record.value or b"") + EVENT_BYTES
            different.setdefault(json.dumps(content, sort_keys=True), size)
            if sum(different.values()) > most:
                ended[run_id] = (so_far, "limit")
    return ended


def _readable(record: Record) -> JsonEvent | None:
    try:
        event: JsonEvent = json.loads(record.value or b"")
    except ValueError:
        return None
    return event if "time" in event else None


@pytest.mark.long
def test_histories_reach_every_line_of_the_tables() -> None:
    """Else the properties above would prove little."""
    reached: set[str] = set()

    @settings(UNSHRUNK, max_examples=400)
    @given(logs(), logs(), RULES, RULES)
    def collect(
        one: list[Record], other: list[Record], one_rules: Rules, other_rules: Rules
    ) -> None:
        for seen in (uninterrupted(one, rules=one_rules), uninterrupted(other, rules=other_rules)):
            reached.update(reason for _, reason in seen.letters)
            for _, _, value in seen.rows:
                row = json.loads(value)
                row = row.get("pair", row)
                reached.update(str(row.get(name)) for name in COLUMNS)

    collect()

    kinds = {*get_args(PairRule), *get_args(ScoredRowKind), *get_args(DiscardReason)}
    refusals = {INVALID_EVENT, RUN_SETTLED, CONFLICTING_ATTEMPT, CONFLICTING_STRATEGY}
    assert reached >= kinds | refusals | {CONFLICTING_START, *get_args(SettledBy)}
