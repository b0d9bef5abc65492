"""Two texts side by side, in bounded time and size. Pure.

Lines are aligned first, then words within lines that replace one another. Whatever is too long to
be compared is shown as wholly different, and the table says where it ends.
"""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import NamedTuple

from markupsafe import Markup

from pairstream.ui.shown import Cut, cut, shown_text

MAX_CHARACTERS = 24 * 1024
MAX_LINES = 300

# Products of word counts, of one pair of lines and of all: time grows with them.
MAX_LINE_WORK, MAX_WORK = 40_000, 400_000

_WORDS = re.compile(r"\w+|\s+|[^\w\s]")

_ADDED, _REMOVED = Markup("<ins>{}</ins>"), Markup("<del>{}</del>")


class DiffLine(NamedTuple):
    """One line of the table, by number and text on either side; null where a side has none."""

    is_same: bool
    left_number: int | None
    left: Markup | None
    right_number: int | None
    right: Markup | None


class Diff(NamedTuple):
    """`left` and `right` say how much of each text is shown."""

    lines: list[DiffLine]
    left: Cut
    right: Cut

    @property
    def is_whole(self) -> bool:
        return not (self.left.left_out or self.right.left_out)


def side_by_side(left: str, right: str) -> Diff:
    """Rejected on the left, chosen on the right."""
    heads = _head(left), _head(right)
    a, b = (head.text.split("\n") for head in heads)
    return Diff(list(_lines(a, b)), *heads)


def _head(text: str) -> Cut:
    """As much as is compared: so many characters, and so many lines."""
    head = cut(text, MAX_CHARACTERS).text
    lines = head.split("\n", MAX_LINES)
    if len(lines) > MAX_LINES:
        head = "\n".join(lines[:MAX_LINES])
    return Cut(head, len(text) - len(head))


def _lines(a: Sequence[str], b: Sequence[str]) -> Iterator[DiffLine]:
    work = 0
    for tag, a1, a2, b1, b2 in SequenceMatcher(None, a, b).get_opcodes():
        for at_a, at_b in zip_longest(range(a1, a2), range(b1, b2)):
            left = None if at_a is None else a[at_a]
            right = None if at_b is None else b[at_b]
            numbers = (None if at_a is None else at_a + 1), (None if at_b is None else at_b + 1)
            if tag == "equal":
                same = shown_text(left or "")
                yield DiffLine(True, numbers[0], same, numbers[1], same)
                continue
            cells, cost = _cells(left, right, MAX_WORK - work)
            work += cost
            yield DiffLine(False, numbers[0], cells[0], numbers[1], cells[1])


def _cells(
    left: str | None, right: str | None, work_left: int
) -> tuple[tuple[Markup | None, Markup | None], int]:
    """Both cells, and what it cost to compare them."""
    if left is not None and right is not None:
        words = _WORDS.findall(left), _WORDS.findall(right)
        cost = len(words[0]) * len(words[1])
        if cost <= min(MAX_LINE_WORK, work_left):
            return _compared(*words), cost
    return (
        None if left is None else _REMOVED.format(shown_text(left)),
        None if right is None else _ADDED.format(shown_text(right)),
    ), 0


def _compared(a: Sequence[str], b: Sequence[str]) -> tuple[Markup, Markup]:
    left: list[Markup] = []
    right: list[Markup] = []
    for tag, a1, a2, b1, b2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        old, new = shown_text("".join(a[a1:a2])), shown_text("".join(b[b1:b2]))
        left.append(old if tag == "equal" or not old else _REMOVED.format(old))
        right.append(new if tag == "equal" or not new else _ADDED.format(new))
    return Markup("").join(left), Markup("").join(right)
