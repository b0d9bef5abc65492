"""Datasets: the same pairs give the same bytes, published at once, never changed."""

import json
import random
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rows import Pair
from tests.trainer.invariants import is_held_out
from tests.trainer.made_pairs import line, make_pairs
from trainer import cut, selection
from trainer.content import Content, join_shares, write_content, write_share
from trainer.cut import read_lines
from trainer.index import PairIndex
from trainer.segments import OpenSegment
from trainer.selection import CutSettings, Reason

PAIRS = make_pairs(24)

# The same examples every time: no test may depend on luck.
EXAMPLES = settings(max_examples=40, deadline=None, derandomize=True, database=None)

FIELDS = [
    "pair_id", "run_id", "strategy_id", "rule", "prompt", "chosen", "rejected", "chosen_score",
    "rejected_score", "chosen_attempt", "rejected_attempt", "garbler", "agent_id", "task_id",
    "policy_id",
]  # fmt: skip


def written(folder: Path, pairs: list[Pair], segment_rows: int, fraction: float) -> Content:
    """Through segments of so many rows, in the order of arrival."""
    index, segments = PairIndex(folder / "index.sqlite"), []
    for first in range(0, len(pairs), segment_rows):
        opened = OpenSegment(folder / "segments", 0, first)
        for pair in pairs[first : first + segment_rows]:
            opened.add(pair.pair_id, line(pair))
        opened.cover(first + segment_rows - 1)
        rows, segment = opened.rows, opened.close()
        index.add(segment, rows)
        segments.append(segment)
    (folder / "out").mkdir()
    lines = read_lines(folder / "segments", index.in_order(segments))
    return write_content(folder / "out", lines, CutSettings(eval_fraction=fraction))


def read_both(folder: Path) -> tuple[list[bytes], list[bytes]]:
    train, held_out = (
        (folder / "out" / name).read_bytes().splitlines(keepends=True)
        for name in ("train.jsonl", "eval.jsonl")
    )
    return train, held_out


@EXAMPLES
@given(
    order=st.permutations(PAIRS),
    count=st.integers(0, len(PAIRS)),
    segment_rows=st.integers(1, len(PAIRS)),
    fraction=st.floats(0, 0.99),
)
def test_the_same_pairs_give_the_same_bytes_in_whatever_order_they_came(
    order: list[Pair],
    count: int,
    segment_rows: int,
    fraction: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("written")
    content = written(folder, order[:count], segment_rows, fraction)

    expected = sorted(map(line, order[:count]))
    held_out = [row for row in expected if is_held_out(json.loads(row)["run_id"], fraction)]
    if held_out == expected:
        held_out = []
    assert read_both(folder) == ([row for row in expected if row not in held_out], held_out)
    assert content.pairs == count
    assert content.runs == len({pair.run_id for pair in order[:count]})


@EXAMPLES
@given(st.lists(st.sampled_from(PAIRS), unique_by=lambda pair: pair.pair_id), st.floats(0, 0.99))
def test_a_run_never_stands_on_both_sides(pairs: list[Pair], fraction: float) -> None:
    train = {p.run_id for p in pairs if not selection.is_held_out(p.run_id, fraction)}
    held_out = {p.run_id for p in pairs if selection.is_held_out(p.run_id, fraction)}

    assert train.isdisjoint(held_out)
    assert held_out == {p.run_id for p in pairs if is_held_out(p.run_id, fraction)}


@pytest.mark.parametrize(("fraction", "share"), [(0.0, 0), (0.1, 0.1), (0.5, 0.5)])
def test_the_held_out_share_of_many_runs_is_the_one_that_was_set(
    fraction: float, share: float
) -> None:
    held_out = sum(selection.is_held_out(f"r-{n}", fraction) for n in range(20_000))
    assert held_out == pytest.approx(20_000 * share, rel=0.05)


def test_a_larger_share_holds_out_the_same_runs_and_more() -> None:
    runs = [f"r-{n}" for n in range(1000)]
    few, many = (
        {run for run in runs if selection.is_held_out(run, fraction)} for fraction in (0.1, 0.3)
    )
    assert few < many


def test_lines_are_the_contracts_fields_in_order_as_compact_utf8(tmp_path: Path) -> None:
    written(tmp_path, PAIRS, 5, 0.3)

    train, held_out = read_both(tmp_path)
    for row in train + held_out:
        decoded = orjson.loads(row)
        assert list(decoded) == FIELDS
        compact = json.dumps(decoded, ensure_ascii=False, separators=(",", ":"))
        assert row == compact.encode() + b"\n"
        assert decoded["chosen"] != decoded["rejected"]
    assert "Aufräumen — r-0 清理".encode() in b"".join(train + held_out)


def test_where_every_run_would_be_held_out_none_is(tmp_path: Path) -> None:
    held_out = [pair for pair in PAIRS if is_held_out(pair.run_id, 0.5)]
    written(tmp_path, held_out, 3, 0.5)

    assert read_both(tmp_path) == (sorted(map(line, held_out)), [])


def test_more_segments_than_may_be_open_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut, "OPEN_SEGMENTS", 2)
    shuffled = random.Random(5).sample(PAIRS, len(PAIRS))
    written(tmp_path, shuffled, 2, 0.0)

    assert read_both(tmp_path)[0] == sorted(map(line, PAIRS))


@EXAMPLES
@given(
    st.lists(st.sampled_from(PAIRS), unique_by=lambda pair: pair.pair_id),
    st.sampled_from((0.0, 0.3, 0.99)),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_content_in_shares_is_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: list[Pair],
    fraction: float,
    shares: int,
    left: int,
) -> None:
    folder = tmp_path_factory.mktemp("shares")
    lines = sorted(map(line, pairs))
    taken = CutSettings(eval_fraction=fraction)
    left_out: dict[str, Reason] = {pair.pair_id: "score_gap" for pair in pairs[:left]}
    for name in ("whole", "joined"):
        (folder / name).mkdir()
    whole = write_content(folder / "whole", lines, taken, left_out)

    parts = [folder / str(number) for number in range(shares)]
    size = -(-len(lines) // shares)
    for number, part in enumerate(parts):
        part.mkdir()
        write_share(part, lines[number * size : (number + 1) * size], taken, left_out)

    assert join_shares(folder / "joined", parts, left_out) == whole
    for name in whole.files:
        assert (folder / "joined" / name).read_bytes() == (folder / "whole" / name).read_bytes()
