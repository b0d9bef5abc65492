"""What must hold when the blows are over. Pure: what was found comes in, what is wrong goes out."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from schemas import dead_letters
from tests.chaos.expected import Stored
from tests.chaos.ledger import Entry, Place, content_digest

Json = dict[str, Any]

SHOWN = 5


@dataclass
class Found:
    """What is wrong, and how often something was lost or came twice."""

    wrong: list[str]
    lost: int = 0
    twice: int = 0
    repeats: int = 0

    def __iadd__(self, other: "Found") -> "Found":
        self.wrong += other.wrong
        self.lost += other.lost
        self.twice += other.twice
        self.repeats += other.repeats
        return self


def check_events(entries: Iterable[Entry], log: Iterable[Stored]) -> Found:
    """Each acknowledged send stands at its place.

    One that stands twice is no fault: librdkafka's idempotent producer takes a new epoch and sends
    again when an answer was lost and the leader changed, and the worker knows a redelivery.
    """
    log = list(log)
    by_send: dict[str, list[Stored]] = {}
    for record in log:
        if record.send_id is not None:
            by_send.setdefault(record.send_id, []).append(record)
    found = Found([])
    for entry in entries:
        records = by_send.pop(entry.send_id, [])
        found.repeats += max(0, len(records) - 1)
        if entry.place is not None and not any(_is_at(entry.place, record) for record in records):
            found.lost += 1
            found.wrong.append(f"send {entry.send_id}, acknowledged at {entry.place}, is not there")
        if entry.refused and records:
            found.wrong.append(f"send {entry.send_id} was refused by the client and is there")
        for record in records:
            if entry.digest != content_digest(record.key, record.value):
                found.wrong.append(f"send {entry.send_id} is not what stands at {record.place}")
    found.wrong += [f"nobody sent {send_id}" for send_id in by_send]
    return found


def _is_at(place: Place, record: Stored) -> bool:
    """An offset below 0 is one that the broker did not tell."""
    partition, offset = place
    return partition == record.partition and (offset < 0 or offset == record.offset)


def check_rows(
    name: str, values: Iterable[bytes], expected: Mapping[str, Json], *, key: str
) -> Found:
    """The rows of a topic are those expected; one that came again must be the same to the byte.

    A garbled pair is compared without its garbled side, which must differ from the good one.
    """
    found = Found([])
    first: dict[str, bytes] = {}
    for value in values:
        row_id = orjson.loads(value)[key]
        if first.setdefault(row_id, value) is not value:
            found.repeats += 1
            if first[row_id] != value:
                found.wrong.append(f"{name} {row_id} came twice and not the same")
    missing, extra = expected.keys() - first.keys(), first.keys() - expected.keys()
    found.lost += len(missing)
    if missing:
        found.wrong.append(f"{len(missing)} {name} are missing: {some(missing)}")
    if extra:
        found.wrong.append(f"{len(extra)} {name} are too many: {some(extra)}")
    for row_id in first.keys() & expected.keys():
        row = orjson.loads(first[row_id])
        if not _is_expected(row, expected[row_id]):
            found.wrong.append(f"{name} {row_id} is not as expected")
    return found


def _is_expected(row: Json, wanted: Json) -> bool:
    if wanted.get("rejected") != []:
        return row == wanted
    spoilt, garbler = row["rejected"], row["garbler"]
    if garbler is None or len(spoilt) != 1 or spoilt == row["chosen"]:
        return False
    return row | {"rejected": [], "garbler": None} == wanted


def check_letters(
    letters: Iterable[Stored], log: Iterable[Stored], expected: Mapping[Place, str]
) -> Found:
    """Each refused record has a letter with its bytes and the reason, and no other has one."""
    source = {record.place: record for record in log}
    seen: Counter[Place] = Counter()
    found = Found([])
    for letter in letters:
        place = _origin(letter)
        seen[place] += 1
        record = source.get(place)
        if record is None or (record.key, record.value) != (letter.key, letter.value):
            found.wrong.append(f"a dead letter of {place} does not hold that record")
        reason = dead_letters.read(letter.headers, dead_letters.REASON)
        if reason != expected.get(place):
            found.wrong.append(f"a dead letter of {place} says {reason}, not {expected.get(place)}")
    missing = expected.keys() - seen.keys()
    found.lost += len(missing)
    found.repeats += seen.total() - len(seen)
    if missing:
        found.wrong.append(f"{len(missing)} dead letters are missing: {some(missing)}")
    return found


def _origin(letter: Stored) -> Place:
    partition = dead_letters.read(letter.headers, dead_letters.PARTITION)
    offset = dead_letters.read(letter.headers, dead_letters.OFFSET)
    return int(partition or -1), int(offset or -1)


def check_datasets(lines: Sequence[bytes], pairs: Iterable[bytes]) -> Found:
    """The datasets together hold each pair of the topic once, to the byte."""
    written = {value + b"\n" for value in pairs}
    count = Counter(lines)
    found = Found([])
    lost, extra = written - count.keys(), count.keys() - written
    ids = Counter(orjson.loads(line)["pair_id"] for line in lines)
    found.lost = len(lost)
    found.twice = ids.total() - len(ids)
    if lost:
        found.wrong.append(f"{len(lost)} pairs are in no dataset: {some(map(_pair_id, lost))}")
    if extra:
        found.wrong.append(f"{len(extra)} lines are no pairs: {some(map(_pair_id, extra))}")
    if found.twice:
        twice = [pair_id for pair_id, number in ids.items() if number > 1]
        found.wrong.append(f"{found.twice} pairs stand twice in datasets: {some(twice)}")
    return found


def check_rebuilt(source: str, rebuilt: Iterable[bytes], lines: Iterable[bytes]) -> Found:
    """A replay gives what the datasets hold together."""
    again, live = sorted(rebuilt), sorted(lines)
    if again == live:
        return Found([])
    return Found([f"replay from {source} gives {len(again)} pairs, the datasets hold {len(live)}"])


def _pair_id(line: bytes) -> str:
    return str(orjson.loads(line)["pair_id"])


def some(items: Iterable[Any]) -> str:
    """The first of them, for people."""
    return ", ".join(str(item) for item in sorted(items)[:SHOWN])
