"""`pairstream forget`: what it finds, marks, keeps out of new things, and says of Kafka."""

import copy
import hashlib
import json
import shutil
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from confluent_kafka.admin import NewTopic

from pairstream.__main__ import cli
from pairstream.cluster import Cluster, apply_topics
from pairstream.forget_facts import Search
from pairstream.sending import Sender
from schemas.errors import PairstreamError
from schemas.settings import TopicSettings
from schemas.topics import PAIRS, RUN_EVENTS, RUN_OUTCOMES, Names
from tests.commands.deployment import started
from tests.trainer.invariants import snapshot
from tests.verify.healthy import Damageable, findings, live_through
from trainer.datasets import dataset_lines, read_manifest, verify_dataset
from trainer.forgotten import forgotten_runs, read_marks, remember_forgotten
from trainer.layout import DataDir

DAYS = timedelta(days=1)

# Where the runs of `live_through` end: in a trained dataset, in one that is not, in none yet.
TRAINED, NOT_TRAINED, WAITING, OPEN = "m-1", "m-2", "m-4", "o-1"


@pytest.fixture(scope="module")
def _deployment(embedded_broker: str, tmp_path_factory: pytest.TempPathFactory) -> Damageable:
    made = Damageable(
        embedded_broker, f"t{uuid.uuid4().hex[:10]}.", tmp_path_factory.mktemp("lived") / "data"
    )
    live_through(made)
    return made


@pytest.fixture
def deployment(_deployment: Damageable, tmp_path: Path) -> Damageable:
    """The same topics for all; the data directory is a copy."""
    mine = copy.copy(_deployment)
    shutil.copytree(_deployment.data.root, tmp_path / "data", symlinks=True)
    mine.data = DataDir(tmp_path / "data")
    mine.env = {**_deployment.env, "PAIRSTREAM_DATA_DIR": str(mine.data.root)}
    return mine


def by_topic(found: dict[str, Any], deployment: Damageable) -> dict[str, dict[str, Any]]:
    start = len(deployment.names.prefix)
    return {each["topic"][start:]: each for each in found["topics"]}


def test_what_is_there_is_shown_and_nothing_is_done(deployment: Damageable) -> None:
    before = snapshot(deployment.data.root)

    found = deployment.run_json("forget", TRAINED)

    assert found["runs"] == [TRAINED]
    assert found["acted"] is False
    topics = by_topic(found, deployment)
    assert topics[PAIRS.name]["records"] == 1
    assert (topics[PAIRS.name]["kept"], topics[PAIRS.name]["gone_after"]) == ("for_ever", None)
    outcome = topics[RUN_OUTCOMES.name]
    kept = datetime.fromisoformat(outcome["gone_after"]) - datetime.fromisoformat(outcome["newest"])
    assert kept == 30 * DAYS
    events = topics[RUN_EVENTS.name]
    kept = datetime.fromisoformat(events["gone_after"]) - datetime.fromisoformat(events["newest"])
    assert kept == 14 * DAYS
    assert topics[f"{RUN_EVENTS.name}-dlt"]["records"] == 1
    assert found["state"] == {"open_events": 0, "settled_marks": 1}
    assert [segment["pairs"] for segment in found["segments"]] == [1]
    assert found["datasets"] == [{"dataset": "ds-000001", "pairs": {TRAINED: 1}}]
    assert found["models"] == ["dpo-ds-000001"]
    assert snapshot(deployment.data.root) == before
    assert forgotten_runs(deployment.data) == {}


def test_the_text_says_how_to_delete_what_is_kept_for_ever(deployment: Damageable) -> None:
    text = deployment.run("forget", TRAINED)

    assert "nothing was done; with --yes" in text
    [line] = [line for line in text.splitlines() if line.strip().startswith("{")]
    [place] = json.loads(line)["partitions"]
    assert place["topic"] == deployment.names.topic(PAIRS)
    [pair] = [
        message
        for message in deployment.records(deployment.names.topic(PAIRS))
        if message.key() == TRAINED.encode()
    ]
    assert (place["partition"], place["offset"]) == (pair.partition(), pair.offset() + 1)


@pytest.mark.parametrize("told", ["-1", str(2**63 - 1), str(9000 * 365 * 86_400_000)])
def test_what_outlasts_the_calendar_is_kept_for_ever(
    embedded_broker: str, prefix: str, tmp_path: Path, told: str
) -> None:
    settings = TopicSettings(bootstrap_servers=embedded_broker, topic_prefix=prefix, partitions=1)
    topic = Names(prefix).topic(RUN_EVENTS)
    cluster = Cluster(settings)
    cluster.create([NewTopic(topic, 1, 1, config={"retention.ms": told})])
    list(apply_topics(cluster, settings))
    sender = Sender(settings)
    sender.send(topic, b"r-1", json.dumps(started("r-1")).encode())
    sender.finish("events", remedy="none")

    [found] = Search(settings, DataDir(tmp_path), lambda *_: None).traces(["r-1"]).topics

    assert (found.kept, found.gone_after) == ("for_ever", None)


def test_an_open_run_is_found_in_the_state(deployment: Damageable) -> None:
    found = deployment.run_json("forget", OPEN)

    assert found["state"]["open_events"] > 0
    assert found["datasets"] == found["segments"] == found["models"] == []


def test_what_holds_it_is_marked_and_shown_and_verify_agrees(deployment: Damageable) -> None:
    before = snapshot(deployment.data.root)

    deployment.run("forget", TRAINED, "--yes")

    assert before.items() <= snapshot(deployment.data.root).items()
    assert list(forgotten_runs(deployment.data)) == [TRAINED]
    assert list(read_marks(deployment.data)) == ["ds-000001"]
    [run] = deployment.run_json("dataset", "show", "ds-000001")["forgotten"]
    assert (run["run_id"], run["pairs"]) == (TRAINED, 1)
    assert deployment.run_json("dataset", "show", "ds-000002")["forgotten"] == []
    assert "forgotten runs" in deployment.run("dataset", "show", "ds-000001")
    [model] = deployment.run_json("models", "list")["models"]
    assert model["learnt_from_forgotten"] is True
    assert "forgotten since: dpo-ds-000001" in deployment.run("models", "list")
    shown = deployment.run_json("models", "show", "latest")
    assert [run["run_id"] for run in shown["forgotten"]["ds-000001"]] == [TRAINED]
    assert "forgotten since" in deployment.run("models", "show", "latest")
    assert deployment.run_json("explain", TRAINED)["forgotten"] is not None
    assert "forgotten" in deployment.run("explain", TRAINED)
    assert findings(deployment.verify()) == {}


def test_what_is_not_forgotten_is_not_marked(deployment: Damageable) -> None:
    [model] = deployment.run_json("models", "list")["models"]
    assert model["learnt_from_forgotten"] is False
    assert deployment.run_json("models", "show", "latest")["forgotten"] == {}
    assert deployment.run_json("explain", TRAINED)["forgotten"] is None
    assert "forgotten" not in deployment.run("explain", TRAINED)


def test_a_replay_leaves_it_out(deployment: Damageable, tmp_path: Path) -> None:
    deployment.run("forget", TRAINED, WAITING, "--yes")

    for source in ("pairs", "events"):
        out = tmp_path / source
        deployment.run("replay", "--from", source, "--out", out)
        lines = [json.loads(line)["run_id"] for line in dataset_lines(out)]
        assert NOT_TRAINED in lines
        assert not {TRAINED, WAITING} & set(lines)
        assert read_manifest(out).left_out == {"forgotten": 2}


def test_verify_asks_for_no_segment_of_pairs_that_were_passed_over(deployment: Damageable) -> None:
    """`WAITING` is in a segment; take that away, as if it had been forgotten before it came."""
    [path] = [
        path for path in deployment.data.segments.glob("*/*.jsonl") if b'"m-4"' in path.read_bytes()
    ]
    first, last = path.name.split(".")[0].split("-")
    path.unlink()
    empty = hashlib.sha256(b"").hexdigest()[:16]
    path.with_name(f"{first}-{last}.0.{empty}.jsonl").touch()
    assert "once" in findings(deployment.verify())

    remember_forgotten(deployment.data, [WAITING], datetime.fromisoformat("2026-11-24T21:30:00Z"))

    report = deployment.verify()
    assert findings(report) == {}
    assert any("forgotten" in (check["note"] or "") for check in report["checks"])


def test_a_dataset_is_written_anew_without_it_and_the_old_one_stays(deployment: Damageable) -> None:
    deployment.run("forget", TRAINED, "--yes")

    found = deployment.run_json("forget", TRAINED, "--yes", "--rewrite")

    [folder] = map(Path, found["rewritten"])
    assert folder == deployment.data.root / "rewritten" / "ds-000001-r1"
    old = deployment.data.datasets / "ds-000001"
    manifest = verify_dataset(folder)
    assert (manifest.name, manifest.parent) == ("ds-000001-r1", "ds-000001")
    assert manifest.pairs == read_manifest(old).pairs - 1
    kept = [line for line in dataset_lines(old) if json.loads(line)["run_id"] != TRAINED]
    assert list(dataset_lines(folder)) == kept
    assert deployment.data.dataset_names() == ["ds-000001", "ds-000002"]
    assert findings(deployment.verify()) == {}
    again = deployment.run_json("forget", TRAINED, "--yes", "--rewrite")
    assert again["rewritten"] == [str(folder.with_name("ds-000001-r2"))]


def test_who_uses_a_dataset_that_holds_it_is_told(deployment: Damageable, tmp_path: Path) -> None:
    old = deployment.data.datasets / "ds-000001"

    def told(*words: object) -> str:
        done = CliRunner().invoke(cli, [str(word) for word in words], env=deployment.env)
        return done.stderr

    def of_export(name: object, out: str) -> str:
        return told("dataset", "export", name, "--format", "trl", "--out", tmp_path / out)

    def of_training(dataset: Path) -> str:
        return told("train", dataset, "--launcher", "process", "--base-model", "./nothing")

    assert of_export(old.name, "before") == ""
    deployment.run("forget", TRAINED, "--yes")
    for said in (of_export(old.name, "after"), of_training(old)):
        assert f"{old} holds 1 forgotten run: `pairstream forget RUN_ID --yes --rewrite`" in said
    [folder] = deployment.run_json("forget", TRAINED, "--yes", "--rewrite")["rewritten"]
    for said in (of_export(old.name, "again"), of_training(old)):
        assert f"{old} holds 1 forgotten run: {folder} is without them" in said
    for said in (of_export(folder, "rewritten"), of_training(Path(folder))):
        assert "forgotten" not in said
    deployment.run("forget", "f-1", "--yes")
    assert f"{folder} holds 1 forgotten run" in of_export(folder, "rewritten-again")


def test_all_runs_of_an_agent_are_found(deployment: Damageable) -> None:
    deployment.say(started("a-1", agent_id="cleaner-7"), started("a-2", agent_id="cleaner-8"))

    found = deployment.run_json("forget", "--agent", "cleaner-7")

    assert found["runs"] == ["a-1"]


def test_an_unknown_run_or_agent_is_named(deployment: Damageable) -> None:
    for words in (["r-unknown"], ["--agent", "nobody"]):
        with pytest.raises(PairstreamError, match="nothing is known of"):
            deployment.run("forget", *words)


@pytest.mark.parametrize("words", [[], ["r-1", "--agent", "a"], ["r-1", "--rewrite"]])
def test_wrong_usage_is_said(deployment: Damageable, words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        CliRunner().invoke(
            cli, ["forget", *words], env=deployment.env, catch_exceptions=False,
            standalone_mode=False,
        )  # fmt: skip
