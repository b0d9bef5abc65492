"""Agents' text on a page: as text, in bounded size, with nothing in it that cannot be seen. Pure.

The template engine escapes HTML; here control, bidirectional and other invisible characters become
marks, so that none of them forges a line or turns the order of what is read.
"""

from itertools import groupby
from typing import NamedTuple

from markupsafe import Markup, escape

from schemas.printable import printable

LINE_CHARACTERS = 200
TEXT_CHARACTERS = 32 * 1024

_MARK = Markup('<span class="mark">{}</span>')


class Cut(NamedTuple):
    """The start of a text; `left_out` characters follow it."""

    text: str
    left_out: int


def cut(text: str, characters: int = TEXT_CHARACTERS) -> Cut:
    return Cut(text[:characters], max(0, len(text) - characters))


def shown_text(text: str) -> Markup:
    """A text of many lines, for an element that keeps line breaks and tabs."""
    return Markup("\n").join(
        Markup("\t").join(_visible(part) for part in line.split("\t")) for line in text.split("\n")
    )


def shown_line(value: object, characters: int = LINE_CHARACTERS) -> Markup:
    """A value on one line; what is longer ends in an ellipsis."""
    head, left_out = cut(str(value), characters)
    return _visible(head) + ("…" if left_out else "")


def _visible(text: str) -> Markup:
    if text.isprintable():
        return escape(text)
    parts = (
        (can_be_seen, "".join(characters)) for can_be_seen, characters in groupby(text, _is_seen)
    )
    return Markup("").join(
        escape(part) if can_be_seen else _MARK.format(printable(part))
        for can_be_seen, part in parts
    )


def _is_seen(character: str) -> bool:
    return character.isprintable()
