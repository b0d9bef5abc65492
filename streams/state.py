"""The state's records: one for each event of an open run, one marker for each settled run, and one
that names the topics that the state is of.
"""

from typing import Self

import msgspec

from schemas.errors import PairstreamError
from schemas.events import Event
from schemas.rows import SettledBy
from schemas.source import Source
from streams.runs import DIGEST_BYTES, Run, event_digest

MARKER = b"settled"

# Its value is a JSON list of `Source`.
SOURCE_KEY = b"\x00source"

_SEPARATOR = b"\x00"

REMEDY = (
    "stop all workers, then start one by `pairstream worker --rebuild`, which makes the state anew "
    "from the events"
)

MIGRATE = (
    "a run's events would part from its state; use a new PAIRSTREAM_TOPIC_PREFIX with the wanted "
    "PAIRSTREAM_PARTITIONS, and copy the events by `pairstream topics migrate` (docs/operations.md)"
)

# A marker must fit into a record: a run of more events recognises only so many of them again.
_MARKER_EVENTS = 65_536


class Marker(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What remains of a settled run: enough to tell a redelivery from a late event."""

    settled_by: SettledBy
    digests: bytes

    @classmethod
    def of(cls, run: Run, last: Event, settled_by: SettledBy) -> Self:
        """Of a run that `last` settles; one that was too large recognises nothing."""
        if settled_by == "limit":
            return cls(settled_by, b"")
        digests = [*run.digests(), event_digest(last)]
        return cls(settled_by, b"".join(digests[-_MARKER_EVENTS:]))

    def knows(self, digest: bytes) -> bool:
        place = self.digests.find(digest)
        while place > 0 and place % DIGEST_BYTES:
            place = self.digests.find(digest, place + 1)
        return place >= 0

    def encode(self) -> bytes:
        return _encoder.encode(self)


_encoder = msgspec.msgpack.Encoder()
decode_marker = msgspec.msgpack.Decoder(Marker).decode
_decode_source = msgspec.json.Decoder(list[Source]).decode


def event_key(run_id: str, offset: int) -> bytes:
    """Of one event of an open run."""
    return f"{run_id}\x00{offset}".encode()


def marker_key(run_id: str) -> bytes:
    """Of a settled run."""
    return run_id.encode() + _SEPARATOR + MARKER


def split_key(key: bytes) -> tuple[str, bytes]:
    """A key as run_id and the rest."""
    run_id, _, suffix = key.rpartition(_SEPARATOR)
    return run_id.decode(), suffix


def check_source(source: bytes, found: bytes | None, committed: int) -> None:
    """Hold what the state says of itself against the topics that are read now.

    Args:
        found: the value of `SOURCE_KEY` in a partition's state.
        committed: how many offsets of the partition are committed.

    Raises: PairstreamError that says what to do.
    """
    if found is None and committed:
        raise PairstreamError(f"the state is lost, and offsets are committed: {REMEDY}")
    if found is not None:
        check_same_topics(source, found)


def check_same_topics(source: bytes, before: bytes) -> None:
    """Raises: PairstreamError where topics were made anew or got partitions since `before`."""
    if source != before and remade(source, before):
        raise PairstreamError(f"the topics were made anew since the state was written: {REMEDY}")


def remade(source: bytes, before: bytes) -> set[str]:
    """Topics that are others than before, under the same names.

    Raises: PairstreamError where one is the same and has another count of partitions.
    """
    now, then = _decode_source(source), _decode_source(before)
    counts = {topic.topic_id: topic.partitions for topic in then}
    wider = [
        topic.topic
        for topic in now
        if counts.get(topic.topic_id, topic.partitions) != topic.partitions
    ]
    if wider:
        raise PairstreamError(f"{', '.join(wider)} got more partitions: {MIGRATE}")
    return {topic.topic for topic in {*now} ^ {*then}}
