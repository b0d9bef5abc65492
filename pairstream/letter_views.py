"""What `dlt list` and `dlt show` show; the keys of their --json are the fields here."""

from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import nlargest

from confluent_kafka import Message
from msgspec import Struct

from pairstream.letters import Letter, Wanted, as_letter, headers_of
from schemas.dead_letters import Header


class Listing(Struct, frozen=True):
    """The newest letters, oldest first, and counts of all that were asked for, by reason.

    `superseded` are places of letters shown that were re-sent and have a newer letter; `looked_at`
    is how many letters were read, asked for or not.
    """

    letters: list[Letter]
    superseded: list[str]
    counts: dict[str, int]
    total: int
    looked_at: int


def make_listing(letters: Iterable[Letter], wanted: Wanted, *, limit: int) -> Listing:
    """Pure; its memory does not grow with the letters that are not shown."""
    counts: Counter[str] = Counter()
    answered: set[tuple[str, str]] = set()
    looked_at = 0

    def found() -> Iterator[Letter]:
        nonlocal looked_at
        for letter in letters:
            looked_at += 1
            if letter.replayed_from is not None:
                answered.add((letter.replayed_from, letter.sha256))
            if wanted.has(letter):
                counts[letter.reason] += 1
                yield letter

    # At least one, or it would not read on.
    newest = nlargest(max(1, limit), found(), key=_order)
    shown = newest[:limit][::-1]
    superseded = [letter.place for letter in shown if (letter.place, letter.sha256) in answered]
    return Listing(shown, superseded, dict(counts.most_common()), counts.total(), looked_at)


def _order(letter: Letter) -> tuple[object, ...]:
    return letter.time, letter.topic, letter.partition, letter.offset


class Record(Struct, frozen=True):
    """A letter with the record's bytes as they came; `text` is the value where it is UTF-8."""

    letter: Letter
    headers: list[Header]
    key: bytes | None
    value: bytes | None
    text: str | None


def as_record(message: Message) -> Record:
    value = message.value()
    return Record(as_letter(message), headers_of(message), message.key(), value, _utf8(value))


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
