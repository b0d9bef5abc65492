"""Dead letters: reading, choosing and re-sending them.

A letter that was re-sent and is refused again comes back as a new letter. Its header
`pairstream-dlt-replayed-from` names the letter that was re-sent, so that the newest letter of a
record stands for it. Nothing tells of a record that was taken in: re-sent twice, it is in its
topic twice, which changes nothing (contract, section 3).
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, cast

import click
import msgspec
from confluent_kafka import Message
from msgspec import Struct

from pairstream.cluster import Cluster
from pairstream.reader import TopicReader
from pairstream.sending import Sender
from pairstream.terminal import key_text, moment
from schemas import dead_letters
from schemas.dead_letters import Header
from schemas.errors import PairstreamError
from schemas.json_errors import JSON_ERRORS
from schemas.settings import KafkaSettings
from schemas.topics import CONSUMED, Names

REPLAYED_FROM = "pairstream-dlt-replayed-from"
UNKNOWN = "unknown"

_PLACE = re.compile(r"([^/\s]+)/([0-9]{1,10})/([0-9]{1,19})")


class Place(NamedTuple):
    """Where a record stands; TOPIC/PARTITION/OFFSET wherever it is read or shown."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def as_place(text: str) -> Place | None:
    """What is written as a place."""
    found = _PLACE.fullmatch(text)
    return Place(found[1], int(found[2]), int(found[3])) if found else None


class Letter(Struct, frozen=True, kw_only=True):
    """One dead letter without its value.

    `source_*` is where the record stood when it was refused; `run_id` is the run that its value
    names, if it is JSON that names one; `replayed_from` is the place of the letter whose re-sent
    record was refused again and gave this one. `is_cut`: it holds only a part of its record;
    `sha256` is of the whole key and value, and tells whether two letters are of the same record.
    """

    topic: str
    partition: int
    offset: int
    time: datetime
    reason: str
    detail: str
    service: str | None
    source_topic: str | None
    source_partition: int | None
    source_offset: int | None
    key: str | None
    run_id: str | None
    replayed_from: str | None
    is_cut: bool = False
    sha256: str = ""

    @property
    def place(self) -> str:
        return str(Place(self.topic, self.partition, self.offset))


def as_letter(message: Message) -> Letter:
    """Its own headers are believed; a record that has none of them has an unknown reason."""
    headers = headers_of(message)
    reason = dead_letters.read(headers, dead_letters.REASON) or UNKNOWN
    detail = dead_letters.read(headers, dead_letters.MESSAGE) or ""
    place = _place(message)
    return Letter(
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
        time=moment(message.timestamp()[1]),
        reason=reason,
        detail=detail.removeprefix(f"{reason}: "),
        service=dead_letters.read(headers, dead_letters.CONNECTOR),
        source_topic=dead_letters.read(headers, dead_letters.TOPIC),
        source_partition=_number(dead_letters.read(headers, dead_letters.PARTITION)),
        source_offset=_number(dead_letters.read(headers, dead_letters.OFFSET)),
        key=key_text(message.key()),
        run_id=named_run(message.value()),
        replayed_from=dead_letters.read(headers, REPLAYED_FROM),
        is_cut=dead_letters.is_cut(headers),
        sha256=_digest(message, headers),
    )


def _digest(message: Message, headers: Sequence[Header]) -> str:
    parts = [
        dead_letters.whole_digest(message.key(), headers, dead_letters.KEY_CUT),
        dead_letters.whole_digest(message.value(), headers, dead_letters.VALUE_CUT),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _place(message: Message) -> Place:
    return Place(message.topic(), message.partition(), message.offset())


def headers_of(message: Message) -> list[Header]:
    return cast("list[Header]", message.headers() or [])


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 20 else None


class _Named(Struct):
    run_id: str


_named_decoder = msgspec.json.Decoder(_Named)


def named_run(value: bytes | None) -> str | None:
    """The run that a record's value names, whatever else is wrong with it."""
    try:
        return _named_decoder.decode(value or b"").run_id
    except JSON_ERRORS:
        return None


def letter_topics(names: Names, asked: str | None) -> dict[str, str]:
    """Dead-letter topics with the topics that their letters come from: all, or the one asked for.

    `asked` is either of the two names, with or without the deployment's prefix.
    Raises: click.UsageError when there is none of that name.
    """
    found = {
        names.dead_letters(topic): names.topic(topic)
        for topic in CONSUMED
        if asked in (None, topic.name, names.topic(topic), names.dead_letters(topic))
        or asked == Names().dead_letters(topic)
    }
    if not found:
        choices = ", ".join(topic.name for topic in CONSUMED)
        raise click.UsageError(f"{asked} has no dead letters: choose one of {choices}")
    return found


class LetterBox:
    """The dead letters of some topics as they are now.

    Raises: PairstreamError when one of the topics is missing.
    """

    def __init__(self, settings: KafkaSettings, topics: Iterable[str]) -> None:
        self._settings = settings
        self._partitions = Cluster(settings).require(*topics)

    def letters(self, *, since: datetime | None = None) -> Iterator[Letter]:
        """Every letter in order within a partition, or from the first one on that is so new."""
        for topic in self._partitions:
            reader = self._reader(topic)
            if since is not None:
                reader.start_at(since)
            yield from map(as_letter, reader.read())

    def message(self, place: Place) -> Message:
        """The letter at a place, as a record. Raises: PairstreamError when there is none."""
        reader = TopicReader(self._settings, place.topic, self._partitions.get(place.topic, 0))
        low, high = reader.ranges.get(place.partition, (0, 0))
        if not low <= place.offset < high:
            raise PairstreamError(f"no dead letter at {place}: see `pairstream dlt list`")
        reader.restrict({place.partition: (place.offset, place.offset + 1)})
        (message,) = reader.read()
        return message

    def resend(self, chosen: Sequence[Letter], to: Mapping[str, str], sender: Sender) -> None:
        """Queue the letters' records for the topics that `to` names, bytes as they came."""
        places = {letter.place for letter in chosen}
        for topic in {letter.topic: None for letter in chosen}:
            reader = self._reader(topic)
            reader.restrict(_ranges(letter for letter in chosen if letter.topic == topic))
            for message in reader.read():
                place = str(_place(message))
                if place in places:
                    sender.send(to[topic], message.key(), message.value(), _again(message, place))

    def _reader(self, topic: str) -> TopicReader:
        return TopicReader(self._settings, topic, self._partitions[topic])


def _ranges(letters: Iterable[Letter]) -> dict[int, tuple[int, int]]:
    ranges: dict[int, tuple[int, int]] = {}
    for letter in letters:
        first, end = ranges.get(letter.partition, (letter.offset, letter.offset + 1))
        ranges[letter.partition] = (min(first, letter.offset), max(end, letter.offset + 1))
    return ranges


def _again(message: Message, place: str) -> list[Header]:
    """The original headers and the provenance; one of an earlier replay is replaced."""
    original = dead_letters.original_headers(headers_of(message))
    kept = [(name, value) for name, value in original if name != REPLAYED_FROM]
    return [*kept, (REPLAYED_FROM, place.encode())]


class Wanted(Struct, frozen=True, kw_only=True):
    """The letters that are asked for: all, but for what is given here; `until` is too late."""

    reason: str | None = None
    run_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    places: frozenset[str] | None = None

    def has(self, letter: Letter) -> bool:
        return (
            self.reason in (None, letter.reason)
            and self.run_id in (None, letter.key, letter.run_id)
            and (self.since is None or letter.time >= self.since)
            and (self.until is None or letter.time < self.until)
            and (self.places is None or letter.place in self.places)
        )


class Choice(Struct, frozen=True, kw_only=True):
    """What a replay sends; `superseded` have a newer letter, `refused_again` were re-sent once.

    `cut` are places of letters that hold only a part of their records. `missing` are places asked
    for that hold none of the letters asked for.
    """

    chosen: list[Letter]
    superseded: int
    refused_again: int
    missing: list[str]
    looked_at: int
    cut: list[str] = []


def choose(letters: Iterable[Letter], wanted: Wanted, *, again: bool) -> Choice:
    """Pure. What was re-sent and came back is never chosen, and its newest letter only `again`.

    An agent may write the header of a re-sent record too, so it counts for the same record alone.
    """
    everything = list(letters)
    answered = {(letter.replayed_from, letter.sha256) for letter in everything}
    records = {letter.place: letter.sha256 for letter in everything}
    found = [letter for letter in everything if wanted.has(letter)]
    newest = [letter for letter in found if (letter.place, letter.sha256) not in answered]
    due = [letter for letter in newest if again or not _came_back(letter, records)]
    chosen = [letter for letter in due if not letter.is_cut]
    return Choice(
        chosen=chosen,
        cut=[letter.place for letter in due if letter.is_cut],
        superseded=len(found) - len(newest),
        refused_again=len(newest) - len(due),
        missing=sorted((wanted.places or set()) - {letter.place for letter in found}),
        looked_at=len(everything),
    )


def _came_back(letter: Letter, records: Mapping[str, str]) -> bool:
    """Of a letter that is no longer there nothing else is known than what is said."""
    before = letter.replayed_from
    return before is not None and records.get(before, letter.sha256) == letter.sha256
