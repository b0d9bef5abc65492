"""The index: what comes twice counts once, sums are those of the rows, and lists end soon."""

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairstream.ui.index_reader import LOOKED_AT, reading
from pairstream.ui.index_rows import (
    LetterHead,
    OutcomeHead,
    PairHead,
    Place,
    PlacedPair,
    StepRecord,
    TimedOutcome,
    pairs_in_segment,
)
from pairstream.ui.index_tables import FILE, open_for_reading
from pairstream.ui.index_writer import HOUR_MS, Batch, IndexWriter
from schemas.rows import TrainingStep, encode
from tests.commands.deployment import NOW
from tests.trainer.made_pairs import make_pairs


def head(number: int, *, rule: str = "mixed_code", agent: str = "a", gap: float = 1.0) -> PairHead:
    return PairHead(f"{number:032x}", f"r-{number}", "s", rule, gap, 0.0, None, agent, None, None)


def outcome(
    run_id: str, reason: str | None = None, agent: str | None = "a", at: int = 0
) -> TimedOutcome:
    pairs = 0 if reason else 2
    told = OutcomeHead(run_id, reason, 1, 2, 1, 0, pairs, 2, "finished", agent, None, "p")
    return TimedOutcome(told, at * HOUR_MS)


def fill(folder: Path, *batches: Batch) -> None:
    writer = IndexWriter(folder / FILE)
    for batch in batches:
        writer.take(batch)
    writer.close()


def test_what_comes_twice_counts_once(tmp_path: Path) -> None:
    letter = LetterHead("dlt", 0, 5, 1, "invalid_event", "", "r-1")
    step = StepRecord(0, 1, "t", encode(TrainingStep("t", "started", NOW, "ds", "0")))
    batch = Batch([PlacedPair(head(1), Place(0, 7))], [outcome("r-1")], [letter], [step])

    fill(tmp_path, batch, batch)

    with reading(tmp_path) as index:
        assert index.rules() == {"mixed_code": 1}
        assert index.kinds() == {"paired": 1}
        assert index.sums("agent", "a") == (1, 2)
        assert index.letter_counts() == [("dlt", "invalid_event", 1)]
        assert [each.step for each in index.steps("t")] == ["started"]
        assert index.hours() == [(0, "paired", 1)]


def test_a_pair_is_found_in_its_segment_and_in_its_topic(tmp_path: Path) -> None:
    in_topic = Place(partition=2, offset=9, time_ms=5)
    in_segment = Place(segment="2/x.jsonl", start=10, length=20)

    for first, second in ((in_topic, in_segment), (in_segment, in_topic)):
        folder = tmp_path / str(first.offset)
        folder.mkdir()
        fill(folder, Batch([PlacedPair(head(1), first)]), Batch([PlacedPair(head(1), second)]))
        with reading(folder) as index:
            found = index.pair(f"{1:032x}")
        assert found is not None
        places = ("partition", "offset", "segment", "start", "length", "time_ms")
        assert [found[name] for name in places] == [2, 9, "2/x.jsonl", 10, 20, 5]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 9),
            st.sampled_from([None, "void", "too_large"]),
            st.sampled_from(["a", "b", None]),
            st.integers(0, 3),
        )
    )
)
def test_sums_are_those_of_the_runs(
    tmp_path_factory: pytest.TempPathFactory,
    told: Sequence[tuple[int, str | None, str | None, int]],
) -> None:
    folder = tmp_path_factory.mktemp("index")
    first = {f"r-{n}": (reason, agent, at) for n, reason, agent, at in reversed(told)}

    rows = [outcome(f"r-{n}", reason, agent, at) for n, reason, agent, at in told]
    fill(folder, *(Batch(outcomes=[row]) for row in rows[:3]), Batch(outcomes=rows[3:]))

    with reading(folder) as index:
        assert index.kinds() == Counter(reason or "paired" for reason, _, _ in first.values())
        assert index.sums() == (len(first), 2 * sum(r is None for r, _, _ in first.values()))
        for name in ("a", "b"):
            of_agent = [reason or "paired" for reason, agent, _ in first.values() if agent == name]
            assert index.kinds("agent", name) == Counter(of_agent)
        assert sum(runs for _, _, runs in index.hours()) == len(first)
        assert [group.name for group in index.groups("policy", limit=5)] == (["p"] if first else [])


def test_positions_stand_with_their_rows_or_not_at_all(tmp_path: Path) -> None:
    writer = IndexWriter(tmp_path / FILE)
    writer.take(Batch([PlacedPair(head(1), Place())], positions={("pairs", 0): 1}))
    spoilt = Batch([PlacedPair(head(2), Place())], positions={("pairs", 0): 2})
    spoilt.letters.append(("a letter has more parts",))  # type: ignore[arg-type]

    with pytest.raises(sqlite3.Error):
        writer.take(spoilt)

    assert writer.positions() == {("pairs", 0): 1}
    writer.close()
    with reading(tmp_path) as index:
        assert index.rules() == {"mixed_code": 1}


def test_it_forgets_everything_but_its_version(tmp_path: Path) -> None:
    writer = IndexWriter(tmp_path / FILE)
    writer.set_source("one")
    writer.take(Batch([PlacedPair(head(1), Place())], [outcome("r")], segments=["0/a"]))

    writer.clear()

    assert (writer.source(), writer.positions(), writer.segments()) == (None, {}, set())
    writer.close()
    with reading(tmp_path) as index:
        assert (index.rules(), index.kinds()) == ({}, {})
    reopened = IndexWriter(tmp_path / FILE)
    reopened.set_source("two")
    reopened.close()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b""])
def test_a_damaged_index_is_made_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)

    fill(tmp_path, Batch(outcomes=[outcome("r")]))

    with reading(tmp_path) as index:
        assert index.kinds() == {"paired": 1}


def test_readers_can_change_nothing(tmp_path: Path) -> None:
    fill(tmp_path)

    with open_for_reading(tmp_path / FILE) as database, pytest.raises(sqlite3.OperationalError):
        database.execute("DELETE FROM pairs")


# --- Lists ---------------------------------------------------------------------------------------


def walk(folder: Path, wanted: dict[str, str], low: float | None) -> list[int]:
    """The numbers of all pairs that the pages show, one after another."""
    found: list[int] = []
    before = None
    with reading(folder) as index:
        for _ in range(50):
            listed = index.pairs(wanted, gap=(low, None), before=before, limit=3)
            found += [row["number"] for row in listed.rows]
            before = listed.older
            if before is None:
                return found
    raise AssertionError("the list has no end")


@pytest.mark.parametrize("wanted", [{}, {"rule": "x"}, {"rule": "x", "agent_id": "b"}])
@pytest.mark.parametrize("low", [None, 5.0])
def test_pages_of_a_list_leave_out_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, str], low: float | None
) -> None:
    """Also where a page looks at fewer rows than it would need to be full."""
    monkeypatch.setattr("pairstream.ui.index_reader.LOOKED_AT", 4)
    heads = [
        head(n, rule="xy"[n % 2], agent="abc"[n % 3], gap=float(n * 7 % 10)) for n in range(40)
    ]
    fill(tmp_path, Batch([PlacedPair(each, Place()) for each in heads]))

    expected = [
        n + 1
        for n, each in enumerate(heads)
        if each.rule == wanted.get("rule", each.rule)
        and each.agent_id == wanted.get("agent_id", each.agent_id)
        and (low is None or (each.gap or 0) >= low)
    ]
    assert walk(tmp_path, wanted, low) == expected[::-1]


def test_a_page_looks_at_a_bounded_number_of_rows(tmp_path: Path) -> None:
    count = LOOKED_AT + 10
    fill(tmp_path, Batch([PlacedPair(head(n), Place()) for n in range(count)]))

    with reading(tmp_path) as index:
        listed = index.pairs({}, gap=(99.0, None), before=None, limit=5)
        assert (list(listed.rows), listed.older, listed.looked_at) == ([], 11, LOOKED_AT)
        rest = index.pairs({}, gap=(99.0, None), before=listed.older, limit=5)
        assert (rest.older, rest.looked_at) == (None, 10)


# --- Rows ----------------------------------------------------------------------------------------


def test_pairs_of_a_segment_lie_where_they_are_said_to_lie(tmp_path: Path) -> None:
    made = make_pairs(4)
    broken = [b"no pair\n", b'{"pair_id": "xyz"}\n']
    lines = [encode(made[0]) + b"\n", *broken, *(encode(each) + b"\n" for each in made[1:])]
    content = b"".join(lines)

    found = list(pairs_in_segment("0/a.jsonl", lines))

    assert [pair.pair_id for pair, _ in found] == [each.pair_id for each in made]
    for pair, place in found:
        assert place.start is not None
        assert place.length is not None
        line = content[place.start : place.start + place.length]
        assert json.loads(line)["pair_id"] == pair.pair_id


@pytest.mark.parametrize(
    ("chosen", "rejected", "gap"),
    [(3.0, 1.0, 2.0), (None, 1.0, None), (1.0, None, None), (1e308, -1e308, None)],
)
def test_a_gap_needs_two_scores(
    chosen: float | None, rejected: float | None, gap: float | None
) -> None:
    row = head(1)
    row.chosen_score, row.rejected_score = chosen, rejected

    assert row.gap == gap
