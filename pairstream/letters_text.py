"""Dead letters as text for people: a listing of many, all of one, what a replay does."""

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from pairstream.letter_views import Listing, Record
from pairstream.letters import Choice, Letter, Wanted
from pairstream.terminal import counted, key_text, printable, printable_lines, shortened, shown_time

KEY_WIDTH = 80
DETAIL_WIDTH = 400
LABEL_WIDTH = 14
DUMP_WIDTH = 16
INDENT = "    "

# Deeper JSON is shown as it came: indented, it would be many times its size.
JSON_DEPTH = 32

_JSON_NESTING = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')


def listing_lines(listing: Listing, wanted: Wanted, topics: Iterable[str]) -> Iterator[str]:
    if not listing.total:
        yield from _nothing_lines(listing.looked_at, wanted, topics)
        return
    for letter in listing.letters:
        yield from _letter_lines(letter, was_resent=letter.place in listing.superseded)
    shown = len(listing.letters)
    if shown < listing.total:
        are = "is" if shown == 1 else "are"
        yield f"the newest {shown} of {listing.total} {are} shown; --limit shows more"
    yield from (f"{number:>8} {printable(reason)}" for reason, number in listing.counts.items())
    yield f"{listing.total:>8} in all"


def _nothing_lines(looked_at: int, wanted: Wanted, topics: Iterable[str]) -> Iterator[str]:
    """That there are none: what was looked at, and what it means."""
    filters = ", ".join(_filters(wanted))
    yield f"no dead letters ({filters})" if filters else "no dead letters"
    yield f"{INDENT}looked at {counted(looked_at, 'dead letter')} in {', '.join(topics)}"
    if filters:
        yield f"{INDENT}others may be there: leave out a filter to see them"
    else:
        yield (
            f"{INDENT}so nothing was refused of what workers and trainers have read, as far back "
            "as these topics are kept"
        )
        yield f"{INDENT}what they have still to read, `pairstream status` shows as lag"


def _filters(wanted: Wanted) -> Iterator[str]:
    if wanted.reason is not None:
        yield f"reason {printable(wanted.reason)}"
    if wanted.run_id is not None:
        yield f"run {printable(wanted.run_id)}"
    if wanted.since is not None:
        yield f"since {shown_time(wanted.since)}"
    if wanted.until is not None:
        yield f"until {shown_time(wanted.until)}"


def _letter_lines(letter: Letter, *, was_resent: bool) -> Iterator[str]:
    """`was_resent`: a newer letter stands for it."""
    key = "none" if letter.key is None else shortened(printable(letter.key), KEY_WIDTH)
    yield (
        f"{shown_time(letter.time)}  {printable(letter.reason)}  {letter.place}  "
        f"from {_source(letter)}  key {key}"
    )
    if letter.detail:
        yield f"{INDENT}{shortened(printable(letter.detail), DETAIL_WIDTH)}"
    if letter.run_id not in (None, letter.key):
        yield f"{INDENT}its value names the run {shortened(_or_none(letter.run_id), KEY_WIDTH)}"
    if letter.replayed_from is not None:
        yield f"{INDENT}re-sent from {printable(letter.replayed_from)}, and refused again"
    if letter.is_cut:
        yield f"{INDENT}only a part of the record is in the letter; the whole is where it came from"
    if was_resent:
        yield f"{INDENT}re-sent, and refused again: a newer letter stands for it"


def _source(letter: Letter) -> str:
    if letter.source_topic is None:
        return "unknown"
    partition = "?" if letter.source_partition is None else letter.source_partition
    offset = "?" if letter.source_offset is None else letter.source_offset
    return f"{printable(letter.source_topic)}/{partition}/{offset}"


def left_out_lines(choice: Choice, wanted: Wanted, topics: Iterable[str]) -> Iterator[str]:
    """What is not sent although it was asked for; what there is to say where nothing is sent."""
    if choice.superseded:
        newer = "a newer letter stands for it"
        if choice.superseded > 1:
            newer = "newer letters stand for them"
        yield f"{choice.superseded} left out: re-sent before, {newer}"
    if choice.refused_again:
        yield f"{choice.refused_again} left out: re-sent before and refused again (--again)"
    if choice.cut:
        yield (
            f"{len(choice.cut)} left out: too large, so that only a part of the record is in the "
            f"letter; the whole stands where it came from: {', '.join(choice.cut)}"
        )
    if not (choice.chosen or choice.superseded or choice.refused_again or choice.cut):
        yield from _nothing_lines(choice.looked_at, wanted, topics)
    elif not choice.chosen:
        yield "no dead letters to re-send"


def dry_run_lines(choice: Choice, topics: Mapping[str, str]) -> Iterator[str]:
    """`topics`: where the letters of each dead-letter topic are sent."""
    for letter in choice.chosen:
        yield from _letter_lines(letter, was_resent=False)
        yield f"{INDENT}would be re-sent to {topics[letter.topic]}"
    yield f"nothing was sent: {counted(len(choice.chosen), 'dead letter')} would be re-sent"


def record_lines(record: Record) -> Iterator[str]:
    """Everything, nothing shortened, and nothing that steers the terminal."""
    letter = record.letter
    facts = {
        "dead letter": letter.place,
        "time": shown_time(letter.time),
        "reason": letter.reason,
        "detail": letter.detail or None,
        "refused by": letter.service,
        "came from": _source(letter),
        "re-sent from": letter.replayed_from,
        "key": letter.key,
        "run": letter.run_id,
        "headers": None if record.headers else "none",
    }
    for label, fact in facts.items():
        if fact is not None or label == "key":
            yield f"{label:<{LABEL_WIDTH}}{_or_none(fact)}"
    if record.headers:
        yield "headers"
    for name, content in record.headers:
        yield f"{INDENT}{printable(name)}: {_or_none(key_text(content))}"
    yield from _value_lines(record.value, record.text)


def _or_none(text: str | None) -> str:
    return "none" if text is None else printable(text)


def _value_lines(value: bytes | None, text: str | None) -> Iterator[str]:
    size = "none" if value is None else counted(len(value), "byte")
    label = f"{'value':<{LABEL_WIDTH}}{size}"
    if not value:
        yield label
    elif text is None:
        yield f"{label}, no UTF-8:"
        yield from (INDENT + line for line in _dump_lines(value))
    else:
        pretty = _pretty(text)
        yield f"{label} of {'text' if pretty is None else 'JSON'}:"
        yield printable_lines(text if pretty is None else pretty, indent=INDENT)


def _pretty(text: str) -> str | None:
    """JSON indented, its names and numbers as they were written; None for what is none.

    Nothing is decoded: names that are there twice, or numbers too large, may be what is wrong.
    """
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    return msgspec.json.format(text, indent=2) if _depth(text) <= JSON_DEPTH else None


def _depth(json: str) -> int:
    """How deep lists and objects stand in each other, in what is JSON."""
    depth = deepest = 0
    for token in _JSON_NESTING.finditer(json):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        deepest = max(deepest, depth)
    return deepest


def _dump_lines(value: bytes) -> Iterator[str]:
    """Offset, bytes in hexadecimal, and those of them that are ASCII characters."""
    for start in range(0, len(value), DUMP_WIDTH):
        row = value[start : start + DUMP_WIDTH]
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"{start:08x}  {row.hex(' '):<{3 * DUMP_WIDTH - 1}}  {shown}"
