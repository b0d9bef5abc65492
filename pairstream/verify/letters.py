"""Dead letters against the records that are none of the contract's: each has one, bytes and all.

Memory: a digest for each dead letter and each bad record.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from confluent_kafka import Message

from pairstream.letters import Letter, as_letter, headers_of
from pairstream.verify.report import Check
from pairstream.verify.snapshot import Scope, Snapshot
from schemas import dead_letters
from schemas.dead_letters import Header
from schemas.topics import Names, Topic, dead_letters_of

Source = tuple[str, int, int]


class BadRecord(NamedTuple):
    """A record that must be refused for a reason; `must`: whoever refuses it has got past it."""

    digest: bytes
    reason: str
    must: bool
    timestamp_ms: int


class FoundLetter(NamedTuple):
    """A dead letter in its topic."""

    digest: bytes
    reason: str
    at: str


def _digest(message: Message, headers: Sequence[Header] = ()) -> bytes:
    """Of key and value as they came; by a letter's headers also where it has them cut."""
    whole = (
        dead_letters.whole_digest(message.key(), headers, dead_letters.KEY_CUT),
        dead_letters.whole_digest(message.value(), headers, dead_letters.VALUE_CUT),
    )
    return hashlib.sha256(repr(whole).encode()).digest()[:16]


class LetterComparison:
    """The bad records and the dead letters of all topics, by where the record stands."""

    def __init__(self, check: Check, snapshot: Snapshot, names: Names, scope: Scope) -> None:
        self._check = check
        self._snapshot = snapshot
        self._names = names
        self._scope = scope
        self._bad: dict[Source, BadRecord] = {}
        self._uncertain: set[Source] = set()
        self._letters: dict[Source, FoundLetter] = {}

    def see(self, message: Message, topic: Topic) -> None:
        """Take in a dead letter of records of `topic`."""
        letter = as_letter(message)
        source = _source(letter)
        if source is None or source[0] != self._names.topic(topic):
            if self._scope.wants_key(message.key()):
                self._check.found("a dead letter that names no record", at=letter.place)
            return
        found = FoundLetter(_digest(message, headers_of(message)), letter.reason, letter.place)
        earlier = self._letters.setdefault(source, found)
        if earlier[:2] != found[:2]:
            self._check.found(
                f"two different dead letters of {_place(source)}; the other is at {earlier.at}",
                at=found.at,
            )

    def expect(self, message: Message, reason: str, *, must: bool, is_certain: bool) -> None:
        """Take in a record that is refused; one that is perhaps refused is not `is_certain`."""
        source = (str(message.topic()), int(message.partition() or 0), int(message.offset() or 0))
        if is_certain:
            stamp = message.timestamp()[1]
            self._bad[source] = BadRecord(_digest(message), reason, must, stamp)
        else:
            self._uncertain.add(source)

    def finish(self, topics: tuple[Topic, ...]) -> None:
        """Judge, once all that may be refused has been seen."""
        known = {self._names.topic(topic): topic for topic in topics}
        for source, bad in self._bad.items():
            letter = self._letters.pop(source, None)
            if letter is None:
                self._judge_missing(source, bad, known[source[0]])
            else:
                self._check.checked += 1
                self._judge(source, bad, letter)
        for source, letter in self._letters.items():
            if source not in self._uncertain and self._was_read(source, known):
                self._check.found(
                    f"a dead letter of {_place(source)}, which is no bad record", at=letter.at
                )

    def _judge(self, source: Source, bad: BadRecord, letter: FoundLetter) -> None:
        if letter.digest != bad.digest:
            what = f"a dead letter with other bytes than its record {_place(source)}"
            self._check.found(what, at=letter.at)
        elif letter.reason != bad.reason:
            what = f"a dead letter for {letter.reason}; {_place(source)} is {bad.reason}"
            self._check.found(what, at=letter.at)

    def _judge_missing(self, source: Source, bad: BadRecord, topic: Topic) -> None:
        if not bad.must:
            return
        horizon = self._snapshot.horizons.get(dead_letters_of(topic).name)
        if horizon is not None and bad.timestamp_ms <= horizon:
            self._check.note("dead letters before the first that is kept are not looked for")
        else:
            self._check.found(f"a bad record ({bad.reason}) has no dead letter", at=_place(source))

    def _was_read(self, source: Source, known: dict[str, Topic]) -> bool:
        topic, partition, offset = source
        if self._scope.run_id is not None or topic not in known:
            return False
        low, high = self._snapshot.ranges[known[topic].name].get(partition, (0, 0))
        return low <= offset < high


def _source(letter: Letter) -> Source | None:
    topic, partition, offset = letter.source_topic, letter.source_partition, letter.source_offset
    if topic is None or partition is None or offset is None:
        return None
    return topic, partition, offset


def _place(source: Source) -> str:
    return "/".join(map(str, source))
