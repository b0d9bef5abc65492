"""Bounded reads: where partitions end, and errors that waiting cures."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from pairstream.reader import TopicReader
from schemas.errors import PairstreamError
from schemas.retries import retried
from schemas.topics import PAIRS
from tests.commands.deployment import PARTITIONS, Deployment


def fill(deployment: Deployment, records: int) -> str:
    topic = deployment.names.topic(PAIRS)
    for number in range(records):
        deployment.send(topic, b"key", str(number).encode(), partition=1)
    return topic


def values(reader: TopicReader) -> list[bytes | None]:
    return [message.value() for message in reader.read()]


def test_the_ranges_of_the_cluster_and_of_a_reader_are_the_same(deployment: Deployment) -> None:
    topic = fill(deployment, 5)

    reader = TopicReader(deployment.settings, topic, PARTITIONS)

    assert reader.ranges == {0: (0, 0), 1: (0, 5), 2: (0, 0), 3: (0, 0)}
    assert deployment.cluster.ranges({topic: PARTITIONS}) == {topic: reader.ranges}
    assert values(reader) == [b"0", b"1", b"2", b"3", b"4"]


def test_what_comes_after_the_start_of_a_read_is_not_read(deployment: Deployment) -> None:
    topic = fill(deployment, 3)
    reader = TopicReader(deployment.settings, topic, PARTITIONS)
    fill(deployment, 3)

    assert values(reader) == [b"0", b"1", b"2"]


@pytest.mark.parametrize(
    ("records", "read"),
    [(0, []), (1, [b"4"]), (8, [b"3", b"4"]), (99, [b"0", b"1", b"2", b"3", b"4"])],
)
def test_the_newest_records_are_shared_out_among_the_partitions(
    deployment: Deployment, records: int, read: list[bytes]
) -> None:
    topic = fill(deployment, 5)
    reader = TopicReader(deployment.settings, topic, PARTITIONS)

    reader.newest(records)

    assert values(reader) == read


def test_only_one_partition_is_read(deployment: Deployment) -> None:
    topic = fill(deployment, 2)
    deployment.send(topic, b"key", b"elsewhere", partition=2)
    reader = TopicReader(deployment.settings, topic, PARTITIONS)

    reader.only(2)

    assert values(reader) == [b"elsewhere"]


def test_a_broker_that_cannot_answer_yet_is_asked_again() -> None:
    answers = [KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION)), 7]

    def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, KafkaException):
            raise answer
        assert isinstance(answer, int)
        return answer

    assert retried(ask, failure="no answer") == 7


@pytest.mark.parametrize(
    ("code", "patience"),
    [(KafkaError.TOPIC_AUTHORIZATION_FAILED, 60.0), (KafkaError.NOT_LEADER_FOR_PARTITION, 0.0)],
)
def test_what_waiting_does_not_cure_is_said(code: int, patience: float) -> None:
    def ask() -> int:
        raise KafkaException(KafkaError(code))

    with pytest.raises(PairstreamError, match=r"^no answer: "):
        retried(ask, failure="no answer", seconds=patience)
