"""`pairstream trainer` on Apache Kafka: retention, and marks of transactions."""

import json

import pytest
from confluent_kafka import Producer, TopicPartition

from schemas import clients
from schemas.rows import encode
from tests.trainer.deployment import PARTITIONS, Deployment
from tests.trainer.invariants import all_lines, assert_sound, snapshot
from tests.trainer.made_pairs import line, make_pairs
from trainer.layout import DataDir
from trainer.segments import OpenSegment
from trainer.source import read_source

MADE = make_pairs(30)


def delete_before(deployment: Deployment, offset: int) -> None:
    places = [TopicPartition(deployment.pairs_topic, p, offset) for p in range(PARTITIONS)]
    for future in deployment.admin.delete_records(places).values():
        future.result()


@pytest.mark.kafka
def test_pairs_that_retention_took_before_they_were_read_are_named(on_kafka: Deployment) -> None:
    on_kafka.send(MADE[:20])
    on_kafka.trainer("--trigger-pairs", 1)
    before = snapshot(on_kafka.root)
    read_to = on_kafka.ends()[0]
    on_kafka.send(MADE)
    delete_before(on_kafka, read_to + 2)

    line_told = on_kafka.refused("--trigger-pairs", 1)
    assert f"pairs {read_to} to {read_to + 1} of {on_kafka.pairs_topic} partition 0" in line_told
    assert "pairstream replay --from events" in line_told
    assert snapshot(on_kafka.root) == before


@pytest.mark.kafka
def test_a_topic_that_ends_before_what_was_read_is_refused(on_kafka: Deployment) -> None:
    on_kafka.send(MADE[:20])
    on_kafka.trainer("--trigger-pairs", 1)
    end = on_kafka.ends()[1]
    beyond = OpenSegment(on_kafka.root / "segments", 1, end)
    beyond.cover(end + 99)
    beyond.close()

    line_told = on_kafka.refused()
    assert f"{on_kafka.pairs_topic} partition 1 does not hold the offset {end + 100}" in line_told
    assert "with a new --data-dir" in line_told


@pytest.mark.kafka
def test_a_new_directory_begins_with_what_the_topic_still_holds(on_kafka: Deployment) -> None:
    on_kafka.send(MADE[:20])
    delete_before(on_kafka, 2)
    left = [
        json.loads(message.value())["pair_id"] for message in on_kafka.read(on_kafka.pairs_topic)
    ]
    assert 0 < len(left) < 20

    on_kafka.trainer("--trigger-pairs", 1)
    assert sorted(json.loads(row)["pair_id"] for row in all_lines(on_kafka.root)) == sorted(left)
    assert read_source(DataDir(on_kafka.root)).starts == dict.fromkeys(range(PARTITIONS), 2)

    on_kafka.send(MADE[20:])
    on_kafka.trainer("--trigger-pairs", 1)
    assert len(all_lines(on_kafka.root)) == len(left) + len(MADE) - 20


@pytest.mark.kafka
def test_pairs_of_an_aborted_transaction_are_not_taken_and_its_marks_are_passed(
    on_kafka: Deployment,
) -> None:
    producer = Producer(
        clients.producer(on_kafka.settings)
        | {"transactional.id": on_kafka.pairs_topic, "delivery.timeout.ms": 30_000}
    )
    producer.init_transactions()
    for part, end in (
        (MADE[:10], producer.commit_transaction), (MADE[10:20], producer.abort_transaction)
    ):  # fmt: skip
        producer.begin_transaction()
        for pair in part:
            producer.produce(on_kafka.pairs_topic, encode(pair), pair.run_id.encode())
        end()

    on_kafka.trainer("--trigger-pairs", 1)

    assert sorted(all_lines(on_kafka.root)) == sorted(map(line, MADE[:10]))
    assert_sound(on_kafka.root, ends=on_kafka.ends())
