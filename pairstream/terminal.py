"""What agents wrote, on a terminal: no character of it may steer the terminal or forge a line."""

import json
import os
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import click
import msgspec

from schemas.printable import printable as printable

LABEL_WIDTH = 14

_EPOCH = datetime.fromtimestamp(0, UTC)
_LAST_MS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


def printable_lines(text: str, *, indent: str) -> str:
    """A text of many lines, each made printable."""
    return "\n".join(indent + printable(line) for line in text.split("\n"))


def shortened(text: str, width: int) -> str:
    """The start of a text, marked where it was cut."""
    return text if len(text) <= width else text[: width - 1] + "…"


def key_text(key: bytes | None) -> str | None:
    """A record's key as text; bytes that are no UTF-8 as escapes."""
    return None if key is None else key.decode(errors="backslashreplace")


def moment(milliseconds: int) -> datetime:
    """A record's timestamp, which is any number: the nearest time that a calendar holds."""
    return _EPOCH + timedelta(milliseconds=min(max(milliseconds, 0), _LAST_MS))


def shown_time(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 pair`, `2 pairs`; the plural where it is not made by an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def labelled(label: str, text: str, *, width: int = LABEL_WIDTH) -> str:
    """A line of a screen whose texts begin in one column."""
    return f"{label:<{width}} {printable(text)}".rstrip()


def wants_colours() -> bool:
    """As no-color.org has it; whether there is a terminal at all, click looks itself."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, colour: str) -> str:
    """In a colour, which click takes away where it writes to no terminal."""
    return click.style(text, fg=colour) if wants_colours() else text


def aligned(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> Iterator[str]:
    """A line a row, columns as wide as what stands in them; those in `right` end together."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = (
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def as_json_text(value: object) -> str:
    """Indented JSON in ASCII, so that nothing in it steers a terminal either."""
    return json.dumps(msgspec.to_builtins(value, str_keys=True), indent=2)


def show_progress(done: int, total: int) -> None:
    """Of a long read, on standard error."""
    click.echo(f"{done} of {total} records read", err=True)
