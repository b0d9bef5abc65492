"""Two texts side by side: what differs is marked, nothing is lost, and it ends soon."""

import html
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairstream.ui.diffs import MAX_CHARACTERS, MAX_LINES, Diff, side_by_side

TAGS = re.compile(r"</?(?:ins|del)>")
PLAIN = st.text(st.sampled_from("ab (\n"), max_size=120)


def texts(diff: Diff) -> tuple[str, str]:
    """Both sides again, from the cells."""
    sides = []
    for cells in ([row.left for row in diff.lines], [row.right for row in diff.lines]):
        lines = [html.unescape(TAGS.sub("", str(cell))) for cell in cells if cell is not None]
        sides.append("\n".join(lines))
    return sides[0], sides[1]


def test_words_that_differ_are_marked_in_lines_that_replace_one_another() -> None:
    diff = side_by_side("same\nos.remove(name", "same\nshutil.rmtree(name)")

    first, second = diff.lines
    assert (first.is_same, first.left, first.right) == (True, "same", "same")
    assert second.left == "<del>os</del>.<del>remove</del>(name"
    assert second.right == "<ins>shutil</ins>.<ins>rmtree</ins>(name<ins>)</ins>"
    assert (second.left_number, second.right_number) == (2, 2)


def test_lines_of_one_side_alone_leave_the_other_empty() -> None:
    [line, same] = side_by_side("b", "a\nb").lines

    assert line == (False, None, None, 1, "<ins>a</ins>")
    assert (same.left_number, same.right_number) == (1, 2)


def test_texts_are_escaped_in_every_cell() -> None:
    for line in side_by_side("<script>\n<i>", "<script>\n<b>").lines:
        for cell in (line.left, line.right):
            assert cell is not None
            assert "<" not in TAGS.sub("", str(cell))


@given(PLAIN, PLAIN)
def test_each_side_stands_in_the_table_as_it_was(left: str, right: str) -> None:
    assert texts(side_by_side(left, right)) == (left, right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("x" * 10_000_000, "y" * 10_000_000),
        ("x " * 5_000_000, "y " * 5_000_000),
        ("a\nb\n" * 2_000_000, "b\na\na\n" * 2_000_000),
        ("\n".join("ab " * 80 for _ in range(200)), "\n".join("ba " * 80 for _ in range(200))),
    ],
    ids=["one line", "words", "short lines", "long lines"],
)
def test_huge_texts_are_compared_in_part_and_soon(left: str, right: str) -> None:
    began = time.process_time()

    diff = side_by_side(left, right)

    # Without its bounds each of these takes minutes.
    assert time.process_time() - began < 5
    assert len(diff.lines) <= 2 * MAX_LINES
    for head, text in ((diff.left, left), (diff.right, right)):
        assert len(head.text) <= MAX_CHARACTERS
        assert head.left_out == len(text) - len(head.text)


def test_it_says_whether_all_is_shown() -> None:
    assert side_by_side("a", "b").is_whole
    assert not side_by_side("a" * (MAX_CHARACTERS + 1), "b").is_whole
    assert side_by_side("a\n" * (MAX_LINES - 1), "b").is_whole
    assert not side_by_side("a\n" * (MAX_LINES + 1), "b").is_whole
