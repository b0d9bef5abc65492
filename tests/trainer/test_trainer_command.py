"""`pairstream trainer` on a broker: what it cuts, what it refuses, and how it stops."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from schemas import clients
from schemas.rows import Pair, encode
from schemas.settings import TrainerSettings
from schemas.topics import PAIRS, TRAININGS
from tests.apache_kafka import ApacheKafka
from tests.conftest import Pairstream, missing
from tests.trainer.deployment import PARTITIONS, Deployment, RunningTrainer
from tests.trainer.invariants import all_lines, assert_sound, datasets, lines, manifest, snapshot
from tests.trainer.made_pairs import line, make_pairs
from tests.trainer.stand_in import make_base_model, stand_in_context
from tests.trainer.waiting import wait_for
from trainer import training
from trainer.layout import DataDir
from trainer.service import run_trainer
from trainer.source import Source, read_source

MADE = make_pairs(30)


@pytest.fixture
def deployment(
    embedded_broker: str, prefix: str, tmp_path: Path, pairstream: Pairstream
) -> Deployment:
    return Deployment(embedded_broker, prefix, tmp_path / "data", pairstream)


def test_pairs_become_one_dataset_duplicates_and_bad_records_none(deployment: Deployment) -> None:
    bad = [b"", b"\xff\x00 no text", encode(MADE[0]).replace(b'"s-1"', b'"s-2"'), None]
    deployment.send(MADE[:20])
    deployment.send_records([(b"k\xff", value) for value in bad], headers=[("trace", b"\xfe")])
    deployment.send(MADE[10:])
    deployment.send(MADE)

    deployment.trainer("--trigger-pairs", len(MADE))

    [dataset] = datasets(deployment.root)
    assert sorted(lines(dataset)) == sorted(map(line, MADE))
    assert_sound(deployment.root, ends=deployment.ends())
    told = manifest(dataset)
    assert told["offsets"] == {
        str(partition): {"from": 0, "to": end} for partition, end in deployment.ends().items()
    }
    assert told["source"]["topic"] == deployment.pairs_topic
    assert_dead_letters(deployment, bad)

    before = snapshot(deployment.root)
    deployment.trainer("--trigger-pairs", 1)
    assert snapshot(deployment.root) == before


def assert_dead_letters(deployment: Deployment, bad: list[bytes | None]) -> None:
    """Bytes and headers as they came, and where they came from in Kafka Connect's words."""
    origins = {
        (str(message.partition()), str(message.offset())): message.value()
        for message in deployment.read(deployment.pairs_topic)
        if message.key() == b"k\xff"
    }
    letters = deployment.read(deployment.names.dead_letters(PAIRS))
    assert len(letters) == len(bad)
    for letter in letters:
        headers = dict(letter.headers())
        place = tuple(
            headers[f"__connect.errors.{each}"].decode() for each in ("partition", "offset")
        )
        assert letter.value() == origins.pop(place)
        assert letter.key() == b"k\xff"
        assert headers["trace"] == b"\xfe"
        assert headers["__connect.errors.topic"].decode() == deployment.pairs_topic
        assert headers["__connect.errors.exception.class.name"] == b"invalid_row"
        assert headers["__connect.errors.exception.message"].startswith(b"invalid_row: ")
    assert not origins


def test_below_the_threshold_pairs_wait_for_the_next_start(deployment: Deployment) -> None:
    deployment.send(MADE[:9])
    deployment.trainer("--trigger-pairs", 10)
    assert datasets(deployment.root) == []
    assert deployment.covered() == 9

    deployment.send(MADE[9:10])
    deployment.trainer("--trigger-pairs", 10)
    assert sorted(all_lines(deployment.root)) == sorted(map(line, MADE[:10]))
    assert_sound(deployment.root, ends=deployment.ends())


def test_a_replay_of_the_topic_gives_the_live_datasets_bytes(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.send([*MADE[:25], *MADE[:5]])
    deployment.trainer("--trigger-pairs", 1, "--eval-fraction", 0.3)
    [live] = datasets(deployment.root)

    rebuilt = tmp_path / "rebuilt"
    deployment.command("replay", "--from", "pairs", "--out", rebuilt, "--eval-fraction", 0.3)
    assert manifest(rebuilt)["files"] == manifest(live)["files"]

    deployment.send(MADE[25:])
    of_these = tmp_path / "of-these"
    deployment.command("replay", "--from", "pairs", "--out", of_these, "--dataset", live)
    assert manifest(of_these)["files"] == manifest(live)["files"]


def test_a_second_trainer_on_the_same_directory_is_refused(deployment: Deployment) -> None:
    with RunningTrainer(deployment) as first:
        line = deployment.refused()
        assert line.startswith(f"pairstream: another trainer works on {deployment.root}: stop it")
        assert first.runs()
        assert first.end(signal.SIGTERM) == 0


def test_a_stream_that_never_pauses_is_cut_and_a_trainer_stops_when_asked(
    deployment: Deployment,
) -> None:
    enough = threading.Event()

    def paced() -> Iterator[Pair]:
        for pair in make_pairs(9000):
            yield pair
            if enough.wait(0.02):
                return

    thread = threading.Thread(target=lambda: deployment.send(paced()))
    with RunningTrainer(deployment, "--trigger-pairs", 20, "--segment-seconds", 0.1) as trainer:
        thread.start()
        try:
            wait_for(lambda: len(datasets(deployment.root)) >= 2)
        finally:
            enough.set()
            thread.join()
        total = sum(deployment.ends().values())
        wait_for(lambda: deployment.covered() == total)
        assert trainer.end(signal.SIGTERM) == 0

    assert_sound(deployment.root, ends=deployment.ends())
    assert min(len(lines(dataset)) for dataset in datasets(deployment.root)) >= 20


def test_sigterm_keeps_what_was_read(deployment: Deployment) -> None:
    deployment.send(MADE)
    with RunningTrainer(deployment, "--segment-seconds", 3600) as trainer:
        wait_for(lambda: bool(list(deployment.root.glob("segments/*/open.tmp"))))
        assert trainer.end(signal.SIGTERM) == 0

    assert deployment.covered() > 0
    assert not list(deployment.root.glob("segments/*/*.tmp"))


def test_killed_again_and_again_each_pair_stands_in_one_dataset_once(
    deployment: Deployment,
) -> None:
    rng = random.Random(20261123)
    pairs = make_pairs(2400)
    flags = ("--trigger-pairs", 250, "--segment-seconds", 0.02, "--segment-pairs", 40)
    part = len(pairs) // 4
    for start in range(0, len(pairs), part):
        # Some again that are known, and then what is new.
        deployment.send([*pairs[max(0, start - part // 2) : start], *pairs[start : start + part]])
        until = deployment.covered() + rng.randrange(1, part)
        with RunningTrainer(deployment, *flags) as trainer:
            wait_for(lambda until=until: deployment.covered() >= until)
            assert trainer.end(signal.SIGKILL) == -signal.SIGKILL
        published = snapshot(deployment.root)

    deployment.trainer("--trigger-pairs", 1)

    assert sorted(all_lines(deployment.root)) == sorted(map(line, pairs))
    assert snapshot(deployment.root).items() >= published.items()
    assert_sound(deployment.root, ends=deployment.ends())


def test_a_topic_that_was_made_anew_is_refused(deployment: Deployment) -> None:
    deployment.send(MADE)
    deployment.trainer("--trigger-pairs", 1)
    before = snapshot(deployment.root)
    for future in deployment.admin.delete_topics([deployment.pairs_topic]).values():
        future.result()
    new = NewTopic(deployment.pairs_topic, PARTITIONS, 1)
    for future in deployment.admin.create_topics([new]).values():
        future.result()

    line = deployment.refused("--trigger-pairs", 1)
    assert f"{deployment.pairs_topic} was re-created: its offsets mean something else now" in line
    assert snapshot(deployment.root) == before


def test_a_directory_of_another_topic_is_refused(
    deployment: Deployment, embedded_broker: str, pairstream: Pairstream
) -> None:
    deployment.send(MADE)
    deployment.trainer("--trigger-pairs", 1)
    other = Deployment(
        embedded_broker, f"x{deployment.settings.topic_prefix}", deployment.root, pairstream
    )

    line = other.refused()
    assert f"it was filled from {deployment.pairs_topic}, and this is {other.pairs_topic}" in line


def test_missing_topics_are_named_with_what_to_do(
    embedded_broker: str, prefix: str, pairstream: Pairstream, tmp_path: Path
) -> None:
    done = pairstream(
        "trainer", "--once", "--launcher", "none", "--bootstrap-servers", embedded_broker,
        "--topic-prefix", prefix, "--data-dir", tmp_path / "data", check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "run `pairstream topics apply`" in done.stderr
    assert not (tmp_path / "data").exists()


# --- Disks ----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted disk of 384 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=384k", "tmpfs", str(path)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        missing("needs the right to mount a small disk")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


def test_a_full_disk_ends_the_trainer_with_one_line_and_it_goes_on_when_there_is_room(
    embedded_broker: str, prefix: str, small_disk: Path, pairstream: Pairstream
) -> None:
    deployment = Deployment(embedded_broker, prefix, small_disk / "data", pairstream)
    pairs = make_pairs(600)
    deployment.send(pairs)

    line_told = deployment.refused("--trigger-pairs", 1)
    assert "No space left on device" in line_told or "disk is full" in line_told
    assert "make room" in line_told
    assert datasets(deployment.root) == []

    remount(small_disk, "size=64m")
    deployment.trainer("--trigger-pairs", 1)
    assert sorted(all_lines(deployment.root)) == sorted(map(line, pairs))
    assert_sound(deployment.root, ends=deployment.ends())


def test_a_disk_that_became_read_only_ends_the_trainer_with_one_line(
    embedded_broker: str, prefix: str, small_disk: Path, pairstream: Pairstream
) -> None:
    deployment = Deployment(embedded_broker, prefix, small_disk / "data", pairstream)
    deployment.send(MADE)
    deployment.trainer("--trigger-pairs", 1)
    before = snapshot(deployment.root)
    remount(small_disk, "ro")

    assert "Read-only file system" in deployment.refused()
    remount(small_disk, "rw")
    assert snapshot(deployment.root) == before


@pytest.mark.parametrize("share", [0.02, 0.2, 0.6])
def test_files_that_cannot_grow_leave_nothing_half_published(
    share: float, deployment: Deployment
) -> None:
    pairs = make_pairs(300)
    deployment.send(pairs)
    size = sum(len(line(pair)) for pair in pairs)
    command = f"ulimit -f {int(share * size / 1024)}; exec {sys.executable} -m pairstream"
    limited = subprocess.run(
        ["bash", "-c", f"{command} trainer --once --trigger-pairs 1"],
        env={**os.environ, **deployment.env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert limited.returncode == 1
    assert "Traceback" not in limited.stderr
    assert datasets(deployment.root) == []

    deployment.trainer("--trigger-pairs", 1)
    assert sorted(all_lines(deployment.root)) == sorted(map(line, pairs))
    assert_sound(deployment.root, ends=deployment.ends())


# --- Trainings ------------------------------------------------------------------------------------


def test_a_dataset_is_trained_and_every_step_is_told_on_its_topic(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "training_context", stand_in_context)
    deployment.send(MADE)
    deployment.trainer("--trigger-pairs", 1)
    settings = TrainerSettings(
        bootstrap_servers=deployment.settings.bootstrap_servers,
        topic_prefix=deployment.settings.topic_prefix,
        data_dir=deployment.root,
        launcher="process",
        training_python=sys.executable,
        base_model=str(make_base_model(tmp_path / "base")),
        training_args=f"--starts {tmp_path / 'starts'}",
    )
    source = manifest(datasets(deployment.root)[0])["source"]
    run_trainer(settings, Source(**source), once=True, stop=threading.Event())

    steps = [
        json.loads(message.value())
        for message in deployment.read(deployment.names.topic(TRAININGS))
        if message.key() == b"dpo-ds-000001"
    ]
    assert [step["step"] for step in steps] == ["requested", "started", "succeeded"]
    assert {step["dataset"] for step in steps} == {"ds-000001"}
    assert (deployment.root / "models" / "latest").readlink() == Path("dpo-ds-000001")


# --- Apache Kafka ---------------------------------------------------------------------------------


@pytest.fixture
def on_kafka(
    apache_kafka: ApacheKafka, prefix: str, tmp_path: Path, pairstream: Pairstream
) -> Deployment:
    return Deployment(apache_kafka.bootstrap_servers, prefix, tmp_path / "data", pairstream)


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


def make_transactions_possible(deployment: Deployment) -> None:
    """Their log as the broker makes it, but with one copy, since there is one broker."""
    log = NewTopic("__transaction_state", 50, 1, config={"cleanup.policy": "compact"})
    for future in deployment.admin.create_topics([log]).values():
        future.result()


@pytest.mark.kafka
def test_pairs_of_an_aborted_transaction_are_not_taken_and_its_marks_are_passed(
    on_kafka: Deployment,
) -> None:
    make_transactions_possible(on_kafka)
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
