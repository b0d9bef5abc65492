"""A pair with its texts: from the trainer's segment, or from the topic."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairstream.cluster import Cluster
from pairstream.reader import TopicReader
from schemas.errors import InvalidRecord, PairstreamError
from schemas.rows import Pair, parse_pair
from schemas.settings import KafkaSettings
from schemas.topics import PAIRS, Names

ANSWER_SECONDS = 2.0


def read_pair(settings: KafkaSettings, segments: Path, found: Mapping[str, Any]) -> Pair:
    """The pair that the index knows.

    Args:
        found: the index's row.

    Raises: PairstreamError when neither the file nor the topic gives it.
    """
    line = None
    if found["segment"] is not None:
        line = _from_segment(segments / found["segment"], found["start"], found["length"])
    if line is None and found["offset"] is not None:
        line = _from_topic(settings, found["partition"], found["offset"])
    try:
        pair = parse_pair(line)
    except InvalidRecord as error:
        raise _elsewhere(error.detail) from error
    if pair.pair_id != found["pair_id"].hex():
        raise _elsewhere("another one is there")
    return pair


def _elsewhere(why: str) -> PairstreamError:
    return PairstreamError(
        f"the pair is not where the index says ({why}): `pairstream ui --rebuild` makes the index "
        "anew"
    )


def _from_segment(path: Path, start: int, length: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(length)
    except FileNotFoundError:
        return None


def _from_topic(settings: KafkaSettings, partition: int, offset: int) -> bytes | None:
    topic = Names(settings.topic_prefix).topic(PAIRS)
    count = Cluster(settings).require(topic, wait_seconds=ANSWER_SECONDS)[topic]
    reader = TopicReader(settings, topic, count)
    reader.restrict({partition: (offset, offset + 1)})
    values = [message.value() for message in reader.read()]
    return values[0] if values else None
