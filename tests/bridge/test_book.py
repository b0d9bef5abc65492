"""Traces are mapped when they are whole, and from all of their spans, also after a restart."""

import random
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from pairstream.bridge.book import MAX_STRADDLING, TraceBook, Waits
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


def test_too_many_to_be_passed_over_are_read_again_instead() -> None:
    book = TraceBook(WAITS)
    names = [f"t{number}" for number in range(MAX_STRADDLING + 1)]
    book.add(PLACE, 0, [root(name) for name in names], now=0)
    book.add(PLACE, 1, [span("open", 1)], now=0)
    book.add(PLACE, 2, [span(name, 1) for name in names], now=0)
    assert len(whole(book, 5)) == len(names)

    assert book.positions()[PLACE] == (0, [])


Record = tuple[tuple[str, int], int, list[Span]]

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


def fed(
    book: TraceBook, records: Iterable[Record], now: float, step: float
) -> list[tuple[str, frozenset[str]]]:
    given = []
    for place, offset, items in records:
        now += step
        book.add(place, offset, items, now)
        given += [(name, frozenset(ids)) for name, ids in whole(book, now).items()]
    return given


@given(traces, st.integers(0, 2**16), st.integers(0, 20), st.floats(0, 4))
def test_restart_anywhere_maps_no_trace_from_a_part_of_its_spans(
    made: dict[str, int], seed: int, cut: int, step: float
) -> None:
    """As long as nothing comes later than the quiet time after the root."""
    records = records_of(made, seed)
    complete = {name: frozenset(map(str, range(count))) for name, count in made.items()}
    # Nothing is due while records come: the traces that are whole then are closed by hand.
    book = TraceBook(Waits(quiet=1e9, rootless=1e9))
    for place, offset, items in records[:cut]:
        book.add(place, offset, items, now=0)
        for name, trace in book.whole(2e9):
            if frozenset(trace.spans) == complete[name]:
                book.close(name)
    positions = book.positions()

    passed_over = [name for to in positions.values() for name in to.straddling]
    after = TraceBook(Waits(quiet=0, rootless=0), passed_over)
    left = [
        record
        for record in records
        if record[1] >= (positions[record[0]].offset if record[0] in positions else 0)
    ]
    for place, offset, items in left:
        after.add(place, offset, items, now=0)

    again = whole(after, 0)
    assert {name: frozenset(ids) for name, ids in again.items()} == {
        name: complete[name] for name in again
    }
    done = {name for name in complete if name not in again}
    seen_before = {item.trace_id for _, _, items in records[:cut] for item in items}
    assert done <= seen_before
