"""Dead letters: reading, choosing and re-sending them.

A letter that was re-sent and is refused again comes back as a new letter. Its header
`pairstream-dlt-replayed-from` names the letter that was re-sent, so that the newest letter of a
record stands for it. Nothing tells of a record that was taken in: re-sent twice, it is in its
topic twice, which changes nothing (contract, section 3).
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from heapq import nlargest
from typing import cast

from confluent_kafka import Message
from msgspec import Struct

from pairstream.cluster import Cluster
from pairstream.reader import TopicReader
from pairstream.sending import Sender
from pairstream.terminal import key_text, moment
from schemas import dead_letters
from schemas.dead_letters import Header
from schemas.errors import PairstreamError
from schemas.settings import KafkaSettings
from schemas.topics import CONSUMED, Names

REPLAYED_FROM = "pairstream-dlt-replayed-from"

UNKNOWN = "unknown"


class Letter(Struct, frozen=True, kw_only=True):
    """One dead letter without its value.

    `source_*` is where the record stood when it was refused; `replayed_from` names the letter
    (topic/partition/offset) whose re-sent record was refused again and gave this one.
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
    replayed_from: str | None

    @property
    def place(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def as_letter(message: Message) -> Letter:
    """Its own headers are believed; a record that has none of them has an unknown reason."""
    headers = _headers(message)
    reason = dead_letters.read(headers, dead_letters.REASON) or UNKNOWN
    detail = dead_letters.read(headers, dead_letters.MESSAGE) or ""
    return Letter(
        topic=cast("str", message.topic()),
        partition=cast("int", message.partition()),
        offset=cast("int", message.offset()),
        time=moment(message.timestamp()[1]),
        reason=reason,
        detail=detail.removeprefix(f"{reason}: "),
        service=dead_letters.read(headers, dead_letters.CONNECTOR),
        source_topic=dead_letters.read(headers, dead_letters.TOPIC),
        source_partition=_number(dead_letters.read(headers, dead_letters.PARTITION)),
        source_offset=_number(dead_letters.read(headers, dead_letters.OFFSET)),
        key=key_text(message.key()),
        replayed_from=dead_letters.read(headers, REPLAYED_FROM),
    )


def _headers(message: Message) -> list[Header]:
    return cast("list[Header]", message.headers() or [])


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def letter_topics(names: Names, asked: str | None) -> dict[str, str]:
    """Dead-letter topics with the topics that their letters come from: all, or the one asked for.

    `asked` is either of the two names, with or without the deployment's prefix.
    Raises: PairstreamError when there is none of that name.
    """
    found = {
        names.dead_letters(topic): names.topic(topic)
        for topic in CONSUMED
        if asked in (None, topic.name, names.topic(topic), names.dead_letters(topic))
        or asked == Names().dead_letters(topic)
    }
    if not found:
        choices = ", ".join(topic.name for topic in CONSUMED)
        raise PairstreamError(f"{asked} has no dead letters: choose one of {choices}")
    return found


class LetterBox:
    """The dead letters of some topics as they are now.

    Raises: PairstreamError when one of the topics is missing.
    """

    def __init__(self, settings: KafkaSettings, topics: Iterable[str]) -> None:
        self._settings = settings
        self._partitions = Cluster(settings).require(*topics)

    def messages(self) -> Iterator[Message]:
        """Every letter as a record, in order within a partition."""
        for topic, partitions in self._partitions.items():
            yield from TopicReader(self._settings, topic, partitions).read()

    def letters(self) -> Iterator[Letter]:
        return map(as_letter, self.messages())

    def resend(self, chosen: Sequence[Letter], to: Mapping[str, str], sender: Sender) -> None:
        """Queue the letters' records for the topics that `to` names, bytes as they came."""
        places = {letter.place for letter in chosen}
        for topic in {letter.topic: None for letter in chosen}:
            reader = TopicReader(self._settings, topic, self._partitions[topic])
            reader.restrict(_ranges(letter for letter in chosen if letter.topic == topic))
            for message in reader.read():
                place = as_letter(message).place
                if place in places:
                    sender.send(to[topic], message.key(), message.value(), _again(message, place))


def _ranges(letters: Iterable[Letter]) -> dict[int, tuple[int, int]]:
    ranges: dict[int, tuple[int, int]] = {}
    for letter in letters:
        first, end = ranges.get(letter.partition, (letter.offset, letter.offset + 1))
        ranges[letter.partition] = (min(first, letter.offset), max(end, letter.offset + 1))
    return ranges


def _again(message: Message, place: str) -> list[Header]:
    """The original headers and the provenance; one of an earlier replay is replaced."""
    original = dead_letters.original_headers(_headers(message))
    kept = [(name, value) for name, value in original if name != REPLAYED_FROM]
    return [*kept, (REPLAYED_FROM, place.encode())]


class Listing(Struct, frozen=True):
    """The newest letters, oldest first, and counts of all that were asked for, by reason.

    `superseded` are places of letters shown that were re-sent and have a newer letter.
    """

    letters: list[Letter]
    superseded: list[str]
    counts: dict[str, int]
    total: int


def make_listing(letters: Iterable[Letter], *, reason: str | None, limit: int) -> Listing:
    """Pure; its memory does not grow with the letters that are not shown."""
    counts: Counter[str] = Counter()
    answered: set[str | None] = set()

    def wanted() -> Iterator[Letter]:
        for letter in letters:
            answered.add(letter.replayed_from)
            if reason in (None, letter.reason):
                counts[letter.reason] += 1
                yield letter

    # At least one, or it would not read on.
    newest = nlargest(max(1, limit), wanted(), key=_order)
    shown = newest[:limit][::-1]
    superseded = [letter.place for letter in shown if letter.place in answered]
    return Listing(shown, superseded, dict(counts.most_common()), counts.total())


def _order(letter: Letter) -> tuple[object, ...]:
    return letter.time, letter.topic, letter.partition, letter.offset


class Choice(Struct, frozen=True):
    """What a replay sends; `superseded` have a newer letter, `refused_again` were re-sent once."""

    chosen: list[Letter]
    superseded: int
    refused_again: int


def choose(
    letters: Iterable[Letter],
    *,
    reason: str | None,
    at: Container[tuple[int, int]] | None,
    again: bool,
) -> Choice:
    """Letters of the reason and at the places (partition, offset) asked for. Pure.

    One that was re-sent and came back counts as its newest letter, which is chosen only `again`.
    """
    everything = list(letters)
    answered = {letter.replayed_from for letter in everything}
    wanted = [
        letter
        for letter in everything
        if reason in (None, letter.reason)
        and (at is None or (letter.partition, letter.offset) in at)
    ]
    newest = [letter for letter in wanted if letter.place not in answered]
    chosen = [letter for letter in newest if again or letter.replayed_from is None]
    return Choice(chosen, len(wanted) - len(newest), len(newest) - len(chosen))
