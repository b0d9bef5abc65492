"""Traces are mapped when they are whole, and from all of their spans, also after a restart."""

import random

from hypothesis import given
from hypothesis import strategies as st

from pairstream.bridge.book import MAX_STRADDLING, Place, Position, TraceBook, Waits
from pairstream.formats.spans import Note, Span

WAITS = Waits(quiet=5, rootless=60)
PLACE = ("otlp_spans", 0)


def span(trace: str, number: int, parent: str | None = "0") -> Span:
    return Span(
        place="x",
        trace_id=trace,
        span_id=str(number),
        parent_id=parent,
        name="",
        start_ns=number,
        end_ns=number,
        attributes={},
        resource={},
        failed=False,
        status="",
        notes=[],
    )


def root(trace: str) -> Span:
    return span(trace, 0, None)


def whole(book: TraceBook, now: float) -> dict[str, set[str]]:
    """The due traces with their spans' ids; closed."""
    due = {trace_id: set(trace.spans) for trace_id, trace in book.whole(now)}
    for trace_id in due:
        book.close(trace_id)
    return due


def test_trace_is_whole_when_its_root_is_there_and_nothing_came_for_a_while() -> None:
    book = TraceBook(WAITS)
    book.add(PLACE, 0, [span("a", 1)], now=0)
    assert whole(book, 50) == {}
    book.add(PLACE, 1, [root("a")], now=50)
    assert whole(book, 54.9) == {}
    assert whole(book, 55) == {"a": {"0", "1"}}
    assert len(book) == 0


def test_trace_without_a_root_is_given_up_in_the_end() -> None:
    book = TraceBook(WAITS)
    book.add(PLACE, 0, [span("a", 1)], now=0)

    assert whole(book, 60) == {"a": {"1"}}


def test_same_span_again_and_a_late_one_change_nothing() -> None:
    book = TraceBook(WAITS)
    book.add(PLACE, 0, [root("a"), root("a")], now=0)
    assert whole(book, 5) == {"a": {"0"}}

    book.add(PLACE, 1, [root("a"), span("a", 2)], now=6)

    assert (whole(book, 99), book.late) == ({}, 2)


def test_what_is_said_of_a_span_belongs_to_its_trace() -> None:
    book = TraceBook(WAITS)
    book.add(PLACE, 0, [root("a")], now=0)
    book.add(("otlp_logs", 0), 7, [Note("a", "0", "gen_ai.evaluation.result", {})], now=1)

    [(_, trace)] = book.whole(6)
    assert [note.span_id for note in trace.notes] == ["0"]
    assert {place: to.offset for place, to in book.positions().items()} == {
        PLACE: 0,
        ("otlp_logs", 0): 7,
    }


def test_position_stays_before_what_is_not_whole() -> None:
    book = TraceBook(WAITS)
    book.add(PLACE, 0, [root("a")], now=0)
    book.add(PLACE, 1, [span("b", 1)], now=0)
    book.add(PLACE, 2, [span("a", 1)], now=0)
    assert book.positions()[PLACE].offset == 0
    assert set(whole(book, 5)) == {"a"}

    # `a` is done, and a part of it stands behind the position that `b` holds.
    assert book.positions() == {PLACE: (1, ["a"])}
    book.add(PLACE, 3, [root("b")], now=6)
    assert set(whole(book, 11)) == {"b"}
    assert book.positions() == {PLACE: (4, [])}


def test_while_too_many_are_to_be_passed_over_a_restart_reads_from_where_it_did() -> None:
    book = TraceBook(WAITS)
    names = [f"t{number}" for number in range(MAX_STRADDLING + 1)]
    book.add(PLACE, 0, [root("before")], now=0)
    assert set(whole(book, 5)) == {"before"}
    assert book.positions() == {PLACE: (1, [])}
    book.add(PLACE, 1, [root(name) for name in names], now=5)
    book.add(PLACE, 2, [span("open", 1)], now=5)
    book.add(PLACE, 3, [span(name, 1) for name in names], now=5)
    assert len(whole(book, 10)) == len(names)

    assert book.positions() == {PLACE: (1, [])}
    book.add(PLACE, 4, [root("open")], now=11)
    assert set(whole(book, 16)) == {"open"}
    assert book.positions() == {PLACE: (5, [])}


def test_what_is_passed_over_is_told_on_until_all_of_it_is_behind() -> None:
    """The second restart meets the rest of `x`, of which the first read nothing."""
    here, there = ("topic", 0), ("topic", 1)
    book = TraceBook(WAITS, passed_over={here: ["x"]}, ends={here: 2, there: 2})
    book.add(here, 1, [span("y", 1)], now=0)
    assert book.positions() == {here: (1, ["x"])}
    book.add(there, 0, [root("y")], now=0)
    assert set(whole(book, 5)) == {"y"}
    assert book.positions() == {here: (2, ["x"]), there: (1, [])}

    book.add(there, 1, [span("x", 1)], now=6)

    assert len(book) == 0
    assert book.positions() == {here: (2, []), there: (2, [])}


Record = tuple[Place, int, list[Span]]

traces = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 4), min_size=1)


def records_of(made: dict[str, int], seed: int) -> list[Record]:
    """The spans of the traces in any order, in records of any size, on two partitions."""
    order = random.Random(seed)
    spans = [
        root(name) if number == 0 else span(name, number)
        for name, count in made.items()
        for number in range(count)
    ]
    order.shuffle(spans)
    ends = {0: 0, 1: 0}
    records: list[Record] = []
    while spans:
        size, partition = order.randint(1, 3), order.randint(0, 1)
        records.append((("topic", partition), ends[partition], spans[:size]))
        spans = spans[size:]
        ends[partition] += 1
    return records


def complete_in(made: dict[str, int]) -> dict[str, frozenset[str]]:
    return {name: frozenset(map(str, range(count))) for name, count in made.items()}


def live(
    log: list[Record], committed: dict[Place, Position], made: dict[str, int], order: random.Random
) -> set[str]:
    """A bridge that reads some of what is there, closes what is complete and is killed; it moves
    `committed`. Returns what it closed.
    """
    left = left_of(log, committed)
    book = begun(left, committed, Waits(quiet=1e9, rootless=1e9))
    closed = set()
    for place, offset, items in in_any_order(left, order)[: order.randint(0, len(left))]:
        book.add(place, offset, items, now=0)
        for name, trace in book.whole(2e9):
            if frozenset(trace.spans) == complete_in(made)[name]:
                book.close(name)
                closed.add(name)
        if order.random() < 0.5:
            committed |= book.positions()
    return closed


def left_of(log: list[Record], committed: dict[Place, Position]) -> list[Record]:
    return [
        record
        for record in log
        if record[0] not in committed or record[1] >= committed[record[0]].offset
    ]


def begun(left: list[Record], committed: dict[Place, Position], waits: Waits) -> TraceBook:
    passed_over = {place: to.straddling for place, to in committed.items()}
    return TraceBook(waits, passed_over, {place: offset + 1 for place, offset, _ in left})


def in_any_order(records: list[Record], order: random.Random) -> list[Record]:
    """As two partitions may come: each in its order."""
    parts = [[each for each in records if each[0][1] == number] for number in (0, 1)]
    merged = []
    while any(parts):
        merged.append(order.choice([part for part in parts if part]).pop(0))
    return merged


@given(traces, st.integers(0, 2**16), st.integers(1, 4))
def test_restarts_anywhere_map_no_trace_from_a_part_of_its_spans(
    made: dict[str, int], seed: int, restarts: int
) -> None:
    """As long as nothing comes later than the quiet time after the root."""
    order = random.Random(seed)
    log = records_of(made, seed)
    committed: dict[Place, Position] = {}
    done: set[str] = set()
    # More of the log is there each time.
    for length in sorted(order.randint(0, len(log)) for _ in range(restarts)):
        done |= live(log[:length], committed, made, order)

    left = left_of(log, committed)
    book = begun(left, committed, Waits(quiet=0, rootless=0))
    for place, offset, items in left:
        book.add(place, offset, items, now=0)

    mapped = {name: frozenset(ids) for name, ids in whole(book, 0).items()}
    complete = complete_in(made)
    assert mapped == {name: complete[name] for name in mapped}
    assert done | set(mapped) == set(complete)
