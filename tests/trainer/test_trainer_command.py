"""`pairstream trainer --once` on a broker: what it cuts, and what it refuses."""

import json
import shutil
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic

from pairstream.traces import tracing
from schemas.rows import encode
from schemas.settings import TrainerSettings
from schemas.source import Source
from schemas.topics import PAIRS, TRAININGS
from tests.conftest import Pairstream
from tests.operations.otlp_receiver import receiving
from tests.trainer.deployment import PARTITIONS, Deployment
from tests.trainer.invariants import (
    all_lines,
    assert_sound,
    datasets,
    left_out,
    lines,
    manifest,
    snapshot,
)
from tests.trainer.lives import whole_life
from tests.trainer.made_pairs import line, make_pairs
from tests.trainer.stand_in import make_base_model, stand_in_context
from trainer import training
from trainer.forgotten import remember_forgotten
from trainer.layout import DataDir
from trainer.service import run_trainer
from trainer.traces import TrainerTraces
from trainer.vitals import TrainerVitals

pytestmark = pytest.mark.long

MADE = make_pairs(30)


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
    done = deployment.command("replay", "--from", "pairs", "--out", of_these, "--dataset", live)
    assert manifest(of_these)["files"] == manifest(live)["files"]
    assert done.stdout.endswith("; the same bytes as ds-000001 (SHA-256)\n")


def test_a_replay_of_a_dataset_says_where_it_is_another_one(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.send(MADE[:12])
    deployment.trainer("--trigger-pairs", 1)
    [live] = datasets(deployment.root)
    replay = ("replay", "--from", "pairs", "--dataset", live, "--out")
    gone = MADE[0].run_id
    remember_forgotten(DataDir(deployment.root), [gone], datetime.now(UTC))

    done = deployment.command(*replay, tmp_path / "without")

    pairs = sum(pair.run_id == gone for pair in MADE[:12])
    assert f"; not the bytes of ds-000001 (SHA-256): {pairs} pairs were forgotten" in done.stdout
    other = f"{deployment.names.prefix}other."
    deployment.command("topics", "apply", "--topic-prefix", other)
    done = deployment.command(*replay, tmp_path / "other", "--topic-prefix", other, check=False)
    assert done.returncode == 1
    assert f"it was filled from {deployment.pairs_topic}, and this is {other}" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "other").exists()


def test_a_replay_of_a_dataset_that_left_pairs_out_gives_its_bytes(
    deployment: Deployment, tmp_path: Path
) -> None:
    cap = ("--max-garbled-share", 0.25, "--duplicates", "near", "--held-out-by", "task")
    for start in (0, 12, 24):
        deployment.send([*MADE[start : start + 12], *MADE[start : start + 3]])
        deployment.trainer("--trigger-pairs", 1, "--eval-fraction", 0.3, *cap)
    live = datasets(deployment.root)
    waiting = [manifest(dataset)["left_out"]["garbled_share"] for dataset in live]
    assert len(waiting) == 3
    assert [manifest(dataset)["waited"] for dataset in live] == [0, *waiting[:2]]

    for dataset in live:
        again = tmp_path / dataset.name
        deployment.command("replay", "--from", "pairs", "--out", again, "--dataset", dataset)
        assert manifest(again)["files"] == manifest(dataset)["files"]
        assert manifest(again)["offsets"] == manifest(dataset)["offsets"]
        assert left_out(again) == left_out(dataset)
    assert_sound(deployment.root, ends=deployment.ends())


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_a_duplicate_in_the_offsets_of_a_later_dataset_is_not_rebuilt_into_it(
    share: float, deployment: Deployment, tmp_path: Path
) -> None:
    cap = ("--max-garbled-share", share)
    for part in (MADE[:10], [*MADE[5:10], *MADE[10:20]], [*MADE[:20], *MADE[20:]]):
        deployment.send(part)
        deployment.trainer("--trigger-pairs", 1, *cap)

    for live in datasets(deployment.root):
        again = tmp_path / live.name
        deployment.command("replay", "--from", "pairs", "--out", again, "--dataset", live)
        assert manifest(again)["files"] == manifest(live)["files"]


def test_a_replay_without_the_list_of_what_waited_is_refused(
    deployment: Deployment, tmp_path: Path
) -> None:
    for part in (MADE[:12], MADE[12:24]):
        deployment.send(part)
        deployment.trainer("--trigger-pairs", 1, "--max-garbled-share", 0.25)
    alone = tmp_path / "elsewhere" / "ds-000002"
    shutil.copytree(deployment.root / "datasets" / "ds-000002", alone)

    replay = ("replay", "--from", "pairs", "--out", tmp_path / "again", "--dataset", alone)
    done = deployment.command(*replay, check=False)

    assert done.returncode == 1
    assert "ds-000001 is no published dataset" in done.stderr
    assert not (tmp_path / "again").exists()


def test_where_no_pair_may_be_taken_the_trainer_says_so_once_and_status_too(
    deployment: Deployment,
) -> None:
    garbled = [pair for pair in MADE if pair.garbler is not None]
    deployment.send(garbled)
    deployment.env["PAIRSTREAM_MAX_GARBLED_SHARE"] = "0.3"
    done = deployment.trainer("--trigger-pairs", 1)

    assert done.stderr.count("nothing_to_cut") + done.stdout.count("nothing_to_cut") == 1
    assert datasets(deployment.root) == []
    status = deployment.command("status", "--trigger-pairs", 1)
    assert f"none of them can be taken now: {len(garbled)} garbled_share" in status.stdout
    told = json.loads(deployment.command("status", "--trigger-pairs", 1, "--json").stdout)
    assert told["next_dataset"]["held_back"] == {"garbled_share": len(garbled)}

    deployment.send(pair for pair in MADE if pair.garbler is None)
    deployment.trainer("--trigger-pairs", 1)
    told = json.loads(deployment.command("status", "--trigger-pairs", 1, "--json").stdout)
    [dataset] = datasets(deployment.root)
    assert told["next_dataset"]["held_back"] == {}
    assert told["data_dir"]["waiting"] == manifest(dataset)["left_out"]


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
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        with tracing("trainer") as begin_trace:
            run_trainer(
                settings,
                Source(**source),
                once=True,
                stop=threading.Event(),
                vitals=TrainerVitals(settings),
                traces=TrainerTraces(begin_trace),
            )

    steps = [
        json.loads(message.value())
        for message in deployment.read(deployment.names.topic(TRAININGS))
        if message.key() == b"dpo-ds-000001"
    ]
    assert [step["step"] for step in steps] == whole_life(progress=True)
    assert {step["dataset"] for step in steps} == {"ds-000001"}
    assert (deployment.root / "models" / "latest").readlink() == Path("dpo-ds-000001")
    [parts] = (parts for root, parts in receiver.traces() if root.name == "train")
    assert [part.name for part in parts] == whole_life()[:-1]
