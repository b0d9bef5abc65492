"""The index of known pairs: a copy of what the segments hold, whatever becomes of it."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from schemas.errors import PairstreamError
from tests.trainer.made_pairs import line, make_pairs
from trainer.datasets import read_lines
from trainer.index import PairIndex
from trainer.segments import OpenSegment, Segment

PAIRS = make_pairs(9)


def write_segment(folder: Path, first: int, part: slice) -> Segment:
    opened = OpenSegment(folder, 0, first)
    for pair in PAIRS[part]:
        opened.add(pair.pair_id, line(pair))
    opened.cover(first + 9)
    return opened.close()


@pytest.fixture
def segments(tmp_path: Path) -> list[Segment]:
    return [
        write_segment(tmp_path / "segments", 0, slice(5)),
        write_segment(tmp_path / "segments", 10, slice(5, 12)),
    ]


def index_of(tmp_path: Path, segments: list[Segment]) -> PairIndex:
    index = PairIndex(tmp_path / "index.sqlite")
    index.catch_up(tmp_path / "segments", segments)
    return index


def held(index: PairIndex) -> set[str]:
    return index.known([pair.pair_id for pair in PAIRS])


def ids(part: slice) -> set[str]:
    return {pair.pair_id for pair in PAIRS[part]}


def test_a_lost_index_is_rebuilt_from_the_segments(tmp_path: Path, segments: list[Segment]) -> None:
    index = index_of(tmp_path, segments)

    assert held(index) == ids(slice(12))
    lines = read_lines(tmp_path / "segments", index.in_order(segments))
    assert list(lines) == sorted(map(line, PAIRS[:12]))


def test_only_the_wanted_segments_lines_are_given(tmp_path: Path, segments: list[Segment]) -> None:
    index = index_of(tmp_path, segments)

    for wanted, part in (
        (segments[1:], slice(5, 12)), (segments[:1], slice(5)), ([], slice(0))
    ):  # fmt: skip
        lines = read_lines(tmp_path / "segments", index.in_order(wanted))
        assert list(lines) == sorted(map(line, PAIRS[part]))


def test_an_index_that_lags_catches_up(tmp_path: Path, segments: list[Segment]) -> None:
    index = index_of(tmp_path, segments[:1])
    assert held(index) == ids(slice(5))

    index.catch_up(tmp_path / "segments", segments)
    assert held(index) == ids(slice(12))


def test_an_index_of_segments_that_are_gone_is_made_anew(
    tmp_path: Path, segments: list[Segment]
) -> None:
    index = index_of(tmp_path, segments)
    index.catch_up(tmp_path / "segments", segments[1:])

    assert held(index) == ids(slice(5, 12))


@pytest.mark.parametrize("content", [b"no database at all " * 300, b""])
def test_an_index_that_is_no_database_is_made_anew(
    content: bytes, tmp_path: Path, segments: list[Segment]
) -> None:
    index_of(tmp_path, segments).close()
    (tmp_path / "index.sqlite").write_bytes(content)

    assert held(index_of(tmp_path, segments)) == ids(slice(12))


def test_an_index_in_a_place_that_cannot_be_written_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").mkdir()

    with pytest.raises(Exception, match="unable to open database file"):
        PairIndex(tmp_path / "index.sqlite")
    assert (tmp_path / "index.sqlite").is_dir()


def test_a_damaged_segment_is_named_and_not_taken_in(
    tmp_path: Path, segments: list[Segment]
) -> None:
    path = tmp_path / "segments" / segments[1].path
    path.write_bytes(path.read_bytes().replace(b"Empty", b"Erase"))
    index = PairIndex(tmp_path / "index.sqlite")

    with pytest.raises(PairstreamError, match=f"{path} is damaged"):
        index.catch_up(tmp_path / "segments", segments)
    assert held(index) == ids(slice(5))


def test_a_segment_with_other_rows_than_its_name_says_is_named(
    tmp_path: Path, segments: list[Segment]
) -> None:
    right = segments[0]
    wrong = Segment(0, right.first, right.last, right.rows + 1, right.sha256_start)
    (tmp_path / "segments" / right.path).rename(tmp_path / "segments" / wrong.path)

    with pytest.raises(PairstreamError, match=f"{wrong.path} holds 5 rows, not the 6"):
        index_of(tmp_path, [wrong])


def test_ids_that_lag_behind_or_run_ahead_are_those_of_the_table_again(
    tmp_path: Path, segments: list[Segment]
) -> None:
    index_of(tmp_path, segments[:1]).close()
    lagging, older = tmp_path / "lagging", (tmp_path / "index.sqlite").read_bytes()
    shutil.copytree(tmp_path / "index.ids", lagging)
    index_of(tmp_path, segments).close()
    newer = (tmp_path / "index.sqlite").read_bytes()

    shutil.rmtree(tmp_path / "index.ids")
    lagging.rename(tmp_path / "index.ids")
    assert held(PairIndex(tmp_path / "index.sqlite")) == ids(slice(12))

    (tmp_path / "index.sqlite").write_bytes(older)
    assert held(PairIndex(tmp_path / "index.sqlite")) == ids(slice(5))

    (tmp_path / "index.sqlite").write_bytes(newer)
    assert held(PairIndex(tmp_path / "index.sqlite")) == ids(slice(12))


def test_an_index_of_the_form_before_is_made_anew(tmp_path: Path, segments: list[Segment]) -> None:
    old = sqlite3.connect(tmp_path / "index.sqlite")
    old.executescript(
        "CREATE TABLE segments (number INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE);"
        "CREATE TABLE pairs (pair_id BLOB PRIMARY KEY, segment INTEGER NOT NULL, "
        "offset INTEGER NOT NULL, length INTEGER NOT NULL) WITHOUT ROWID;"
        f"INSERT INTO segments VALUES (1, '{segments[0].path}'), (2, '{segments[1].path}');"
    )
    old.close()

    assert held(index_of(tmp_path, segments)) == ids(slice(12))


def test_rows_are_recorded_together_or_not_at_all(tmp_path: Path) -> None:
    index = PairIndex(tmp_path / "index.sqlite")
    rows = [(PAIRS[0].pair_id, 0, 1), ("no id", 1, 1)]

    with pytest.raises(ValueError, match="hexadecimal"):
        index.add(Segment(0, 0, 9, 2, "0" * 16), rows)
    assert held(index) == set()
    index.add(Segment(0, 0, 9, 1, "0" * 16), rows[:1])
    assert held(index) == ids(slice(1))
