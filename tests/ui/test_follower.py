"""The thread behind the index: nothing ends it unseen, and the index is that of what there is."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions, NewTopic

from pairstream.ui import follower
from pairstream.ui.follower import Follower
from pairstream.ui.index_reader import reading
from pairstream.ui.index_tables import FILE
from pairstream.ui.pages.yields import columns
from schemas import clients
from schemas.settings import DataSettings
from schemas.topics import PAIRS, RUN_EVENTS, RUN_OUTCOMES
from tests.apache_kafka import ApacheKafka
from tests.commands.deployment import PARTITIONS, Deployment, mixed_run
from tests.trainer.made_pairs import make_pairs
from tests.waiting import wait_for
from trainer.segments import OpenSegment

# Microseconds, as some clients write them by mistake.
WILD_MS = int(time.time() * 1e6)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(follower, "SOURCE_SECONDS", 0.2)


@pytest.fixture
def deployment(embedded_broker: str, prefix: str, tmp_path: Path) -> Deployment:
    made = Deployment(embedded_broker, prefix, tmp_path / "data")
    made.data.root.mkdir()
    made.say(*mixed_run("m-1"))
    made.settle()
    return made


def following(made: Deployment) -> Follower:
    return Follower(
        DataSettings(
            bootstrap_servers=made.settings.bootstrap_servers,
            topic_prefix=made.settings.topic_prefix,
            data_dir=made.data.root,
        )
    )


@pytest.fixture
def followed(deployment: Deployment) -> Iterator[Follower]:
    """Once it is level."""
    with following(deployment) as found:
        wait_for(lambda: found.is_level, lambda: str(found.problems))
        yield found


def runs(made: Deployment) -> set[str]:
    """Those of the index; none while it is being replaced."""
    try:
        with reading(made.data.root) as index:
            return {row["run_id"] for row in index.outcomes({}, before=None, limit=99).rows}
    except sqlite3.Error:
        return set()


def send(made: Deployment, topic: str, value: bytes, **given: int) -> None:
    """By a producer that knows the topic as it is now."""
    producer = Producer(clients.producer(made.settings) | {"enable.idempotence": False})
    producer.produce(topic, value, b"wild", **given)
    assert producer.flush(30) == 0


def outcome(made: Deployment, run_id: str) -> bytes:
    """That of `m-1`, for another run."""
    [message] = made.records(made.names.topic(RUN_OUTCOMES))
    return bytes(message.value() or b"").replace(b"m-1", run_id.encode())


def test_records_of_a_time_that_no_calendar_holds_are_taken_in(
    followed: Follower, deployment: Deployment
) -> None:
    wild = outcome(deployment, "wild")
    send(deployment, deployment.names.topic(RUN_OUTCOMES), wild, timestamp=WILD_MS)
    send(deployment, deployment.names.dead_letters(RUN_EVENTS), b"{}", timestamp=WILD_MS)

    wait_for(lambda: runs(deployment) == {"m-1", "wild"})
    with reading(deployment.data.root) as index:
        wait_for(lambda: [row["time_ms"] for row in index.letters(limit=9)] == [WILD_MS])
        assert columns(index.hours())[-1].label.startswith("9999-")
    assert followed.problems == []
    tail = ["tail", "--since", "1h", "-n", "1", "--topic", "dead-letters"]
    for words in (["dlt", "list"], tail):
        assert "9999-12-31T23:59:59Z" in deployment.run(*words)
    assert deployment.run("forget", "wild").startswith("1 run to forget")


def test_what_nobody_foresaw_is_told_and_tried_again(
    followed: Follower, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("secret")

    with monkeypatch.context() as broken:
        broken.setattr(follower, "batch_of", fails)
        deployment.say(*mixed_run("m-2"))
        deployment.settle()
        [problem] = wait_for(lambda: followed.problems)
        assert not followed.is_level
        assert "RuntimeError" in problem
        assert "secret" not in problem

    wait_for(lambda: followed.is_level)
    assert (followed.problems, runs(deployment)) == ([], {"m-1", "m-2"})


def test_what_nobody_foresaw_in_a_segment_holds_up_no_topic(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(follower, "list_segments", fails)
    with following(deployment) as found:
        wait_for(lambda: found.is_level)
        assert ["RuntimeError" in problem for problem in found.problems] == [True]
    assert runs(deployment) == {"m-1"}


def test_an_index_whose_file_is_gone_is_made_anew(
    followed: Follower, deployment: Deployment
) -> None:
    segment = OpenSegment(deployment.data.segments, 0, 0)
    segment.add(make_pairs(1)[0].pair_id, b"")
    segment.cover(0)
    path = str(segment.close().path)
    for each in deployment.data.root.glob(f"{FILE}*"):
        each.unlink()

    wait_for(lambda: runs(deployment) == {"m-1"})
    wait_for(lambda: path in followed._index.writer.segments())
    assert followed.problems == []


def test_a_damaged_index_is_made_anew(followed: Follower, deployment: Deployment) -> None:
    """As who finds out does: the pages read more of it than the thread that writes."""
    writer = followed._index.writer
    followed.make_index_anew()

    wait_for(lambda: followed._index.writer is not writer and runs(deployment) == {"m-1"})
    assert followed.problems == []


@pytest.mark.kafka
def test_topics_made_anew_and_partitions_added_are_noticed(
    apache_kafka: ApacheKafka, prefix: str, tmp_path: Path
) -> None:
    made = Deployment(apache_kafka.bootstrap_servers, prefix, tmp_path / "data")
    made.data.root.mkdir()
    made.say(*mixed_run("m-1"))
    made.settle()
    value, topic = outcome(made, "m-2"), made.names.topic(RUN_OUTCOMES)
    admin = made.cluster.admin
    with following(made) as found:
        wait_for(lambda: found.is_level)
        more = [NewPartitions(topic, PARTITIONS + 1)]
        admin.create_partitions(more)[topic].result()
        wait_for(lambda: made.cluster.partitions()[topic] == PARTITIONS + 1)
        send(made, topic, value, partition=PARTITIONS)
        wait_for(lambda: runs(made) == {"m-1", "m-2"}, lambda: str(found.problems))

        for name in (topic, made.names.topic(PAIRS)):
            admin.delete_topics([name])[name].result()
            wait_for(lambda name=name: name not in made.cluster.partitions())  # type: ignore[misc]
            admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result()
        send(made, topic, value, partition=0)
        wait_for(lambda: runs(made) == {"m-2"}, lambda: str(found.problems))
        wait_for(lambda: found.is_level)
