"""Columns of numbers against lists of them, whatever stays in memory."""

import math
import random
import sys
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import columns
from trainer.columns import Column

EXAMPLES = settings(max_examples=150, deadline=None, derandomize=True, database=None)

FLOATS = st.floats(allow_nan=False) | st.sampled_from((0.0, 1.5, -1.5, 5e-324, -5e-324))
WHOLE = st.integers(0, 2**64 - 1) | st.sampled_from((0, 1, 2**16 - 1, 2**16, 2**48, 2**64 - 1))


def filled(kind: Literal["d", "Q"], values: list[float], in_memory: int) -> Column:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(columns, "VALUES_IN_MEMORY", in_memory)
        column = Column(kind)
        for value in values:
            column.append(value)
        return column


@EXAMPLES
@given(st.lists(FLOATS, min_size=1, max_size=40), st.integers(1, 50))
def test_floats_are_found_at_their_ranks(values: list[float], in_memory: int) -> None:
    column = filled("d", values, in_memory)

    assert len(column) == len(values)
    assert [column.ranked(rank) for rank in range(len(values))] == sorted(values)


@EXAMPLES
@given(st.lists(WHOLE, min_size=1, max_size=40), st.integers(1, 50))
def test_whole_numbers_are_found_and_counted(values: list[int], in_memory: int) -> None:
    column = filled("Q", list(values), in_memory)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(columns, "VALUES_IN_MEMORY", in_memory)
        assert column.distinct() == len(set(values))
    assert [column.ranked(rank) for rank in range(len(values))] == sorted(values)


@EXAMPLES
@given(st.lists(st.lists(FLOATS, max_size=20), min_size=1, max_size=4), st.integers(1, 30))
def test_what_was_saved_can_be_joined(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[float]], in_memory: int
) -> None:
    path: Path = tmp_path_factory.mktemp("columns") / "saved"
    joined = filled("d", [], in_memory)
    for part in parts:
        filled("d", part, in_memory).save(path)
        joined.extend(path)

    together = sorted(value for part in parts for value in part)
    assert [joined.ranked(rank) for rank in range(len(joined))] == together


def test_nothing_has_no_distinct_values() -> None:
    assert Column("Q").distinct() == 0


def test_infinities_stand_at_the_ends() -> None:
    values = [math.inf, 0.0, -math.inf, sys.float_info.max]
    column = filled("d", values, 10)

    assert [column.ranked(rank) for rank in range(4)] == sorted(values)


def test_more_than_memory_holds_is_counted_as_well() -> None:
    drawn = random.Random(0)
    values = [drawn.getrandbits(64) for _ in range(3 * columns.VALUES_IN_MEMORY)]
    column = Column("Q")
    for value in values + values[::2]:
        column.append(value)

    assert column.distinct() == len(values)
    assert column.ranked(0) == min(values)
