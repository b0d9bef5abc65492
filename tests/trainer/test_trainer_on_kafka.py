"""`pairstream trainer` on Apache Kafka: retention, and marks of transactions."""

import json
import re
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition

from schemas import clients
from schemas.rows import encode
from tests.trainer.deployment import PARTITIONS, Deployment, RunningTrainer
from tests.trainer.invariants import all_lines, assert_sound, snapshot
from tests.trainer.made_pairs import line, make_pairs
from tests.waiting import wait_for
from trainer.layout import DataDir
from trainer.segments import OpenSegment, list_segments, next_offsets
from trainer.source import Loss, read_source, remember_losses

MADE = make_pairs(30)
LATER = make_pairs(30, mark="later")


EARLIER = datetime(2026, 11, 1, tzinfo=UTC)


def delete_before(deployment: Deployment, offset: int) -> None:
    places = [TopicPartition(deployment.pairs_topic, p, offset) for p in range(PARTITIONS)]
    for future in deployment.admin.delete_records(places).values():
        future.result()


def lose_unread(deployment: Deployment) -> dict[int, tuple[int, int]]:
    """Have retention take what the trainer has not read; the first and last offset by partition."""
    deployment.send(MADE[:20])
    deployment.trainer("--trigger-pairs", 1)
    read_to = deployment.ends()
    deployment.send(MADE)
    low = max(read_to.values()) + 2
    assert min(deployment.ends().values()) >= low
    delete_before(deployment, low)
    return {partition: (first, low - 1) for partition, first in read_to.items()}


def positions(root: Path) -> dict[int, int]:
    return next_offsets(list_segments(root / "segments"))


def losses(root: Path) -> dict[int, tuple[int, int]]:
    """As they were written down, each once."""
    told = read_source(DataDir(root)).losses
    by_partition = {loss.partition: (loss.first, loss.last) for loss in told}
    assert len(by_partition) == len(told)
    return by_partition


def is_between(offset: int, range_: tuple[int, int] | None) -> bool:
    return range_ is not None and range_[0] <= offset <= range_[1]


@pytest.mark.kafka
def test_pairs_that_retention_took_before_they_were_read_are_named(on_kafka: Deployment) -> None:
    taken = lose_unread(on_kafka)
    published, read_to = snapshot(on_kafka.root), positions(on_kafka.root)

    told = on_kafka.refused("--trigger-pairs", 1)

    for partition, (first, last) in taken.items():
        assert f"pairs {first} to {last} of {on_kafka.pairs_topic} partition {partition}" in told
    assert "pairstream replay --from events" in told
    assert "`pairstream trainer --accept-loss`" in told
    assert (snapshot(on_kafka.root), positions(on_kafka.root)) == (published, read_to)
    assert losses(on_kafka.root) == {}


@pytest.mark.kafka
def test_an_accepted_loss_is_written_down_and_the_next_start_needs_no_word(
    on_kafka: Deployment,
) -> None:
    taken = lose_unread(on_kafka)
    left = [message.value() for message in on_kafka.read(on_kafka.pairs_topic)]

    on_kafka.trainer("--trigger-pairs", 1, "--accept-loss")

    kept = {line(pair) for pair in MADE[:20]} | {value + b"\n" for value in left}
    assert 20 < len(kept) < len(MADE)
    assert losses(on_kafka.root) == taken
    assert sorted(all_lines(on_kafka.root)) == sorted(kept)
    on_kafka.send(LATER)
    on_kafka.trainer("--trigger-pairs", 1)
    assert sorted(all_lines(on_kafka.root)) == sorted(kept | {line(pair) for pair in LATER})
    assert losses(on_kafka.root) == taken
    assert_sound(on_kafka.root, ends=on_kafka.ends())
    report = json.loads(on_kafka.command("verify", "--json", check=False).stdout)
    states = {check["invariant"]: check["state"] for check in report["checks"]}
    assert {states[invariant] for invariant in ("I3", "I4", "I5", "I6", "I11")} == {"holds"}


@pytest.mark.kafka
def test_a_loss_written_down_by_a_trainer_that_was_killed_then_is_not_told_twice(
    on_kafka: Deployment,
) -> None:
    taken = lose_unread(on_kafka)
    before = read_source(DataDir(on_kafka.root))
    remember_losses(
        DataDir(on_kafka.root),
        [Loss(part, first, last, EARLIER) for part, (first, last) in taken.items()],
    )
    assert read_source(DataDir(on_kafka.root)).id == before.id
    assert "--accept-loss" in on_kafka.refused()

    on_kafka.trainer("--accept-loss")

    assert losses(on_kafka.root) == taken
    assert_sound(on_kafka.root, ends=on_kafka.ends())


@pytest.mark.kafka
def test_what_was_read_is_kept_when_retention_overtakes_a_running_trainer(
    on_kafka: Deployment,
) -> None:
    on_kafka.send(MADE)
    with RunningTrainer(on_kafka, "--segment-seconds", 3600) as trainer:
        wait_for(lambda: len(list(on_kafka.root.glob("segments/*/open.tmp"))) == PARTITIONS)
        trainer._process.send_signal(signal.SIGSTOP)
        on_kafka.send(LATER)
        sent = on_kafka.read(on_kafka.pairs_topic)
        delete_before(on_kafka, min(on_kafka.ends().values()))
        trainer._process.send_signal(signal.SIGCONT)
        wait_for(lambda: not trainer.runs())
        told = trainer.log()

    places = re.findall(r"pairs (\d+) to (\d+) of \S+ partition (\d+) are gone", told)
    assert "`pairstream trainer --accept-loss`" in told
    [(first, _, partition)] = places
    assert positions(on_kafka.root)[int(partition)] == int(first) > 0
    on_kafka.trainer("--trigger-pairs", 1, "--accept-loss")
    taken = losses(on_kafka.root)
    kept = [
        message.value() + b"\n"
        for message in sent
        if not is_between(message.offset(), taken.get(message.partition()))
    ]
    assert 0 < len(kept) < len(sent)
    assert sorted(all_lines(on_kafka.root)) == sorted(kept)
    assert_sound(on_kafka.root, ends=on_kafka.ends())


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

    on_kafka.trainer("--trigger-pairs", 1, "--accept-loss")
    assert losses(on_kafka.root) == {}
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
