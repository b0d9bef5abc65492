"""Bounded reads that begin at a time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from pairstream.reader import TopicReader
from schemas.topics import RUN_EVENTS
from tests.commands.deployment import PARTITIONS, Deployment, proposed, started


def test_reading_from_a_time_leaves_out_what_is_older(
    embedded_broker: str, prefix: str, tmp_path: Path
) -> None:
    deployment = Deployment(embedded_broker, prefix, tmp_path / "data")
    deployment.say(started("r-1"), proposed("r-1"))
    topic = deployment.names.topic(RUN_EVENTS)
    newest = max(message.timestamp()[1] for message in deployment.records(topic))

    def count(microseconds: int) -> int:
        reader = TopicReader(deployment.settings, topic, PARTITIONS)
        reader.start_at(
            datetime.fromtimestamp(newest / 1000, UTC) + timedelta(microseconds=microseconds)
        )
        return len(list(reader.read()))

    assert count(-3_600_000_000) == 2
    assert count(3_600_000_000) == 0
