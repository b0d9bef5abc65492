"""`pairstream status`: what it shows is what is there, and a bound says that it is one."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer

from pairstream.__main__ import cli
from pairstream.cluster import lag
from pairstream.overview import join_trainings
from pairstream.training_facts import TrainingFacts
from schemas import clients
from schemas.errors import PairstreamError
from schemas.rows import TrainingStep, TrainingStepName
from schemas.topics import GARBLE_REQUESTS, PAIRS, RUN_EVENTS, RUN_OUTCOMES, Names
from tests.apache_kafka import ApacheKafka
from tests.commands.deployment import (
    Deployment,
    attempted,
    finished,
    first_time_run,
    mixed_run,
    proposed,
    started,
    write_ended_training,
)
from tests.conftest import Pairstream
from trainer.steps import note_wait
from trainer.verdict import Check, Verdict


def four_runs(deployment: Deployment) -> None:
    """Two mixed, one that worked first time, one without success; and one that is open."""
    deployment.say(*mixed_run("m-1"), *mixed_run("m-2"), *first_time_run("f-1"))
    deployment.say(started("n-1"), proposed("n-1"), attempted("n-1", 1, 0), finished("n-1"))
    deployment.say(started("o-1"), proposed("o-1"))
    deployment.settle()


def records(facts: dict[str, Any], topic: str) -> int:
    found: int = next(t["records"] for t in facts["cluster"]["topics"] if t["name"] == topic)
    return found


def test_runs_and_pairs_are_counted_by_what_they_are(deployment: Deployment) -> None:
    four_runs(deployment)
    deployment.garble()

    cluster = deployment.run_json("status")["cluster"]

    assert cluster["open_runs"]["counts"] == {"runs": 1}
    assert cluster["outcomes"]["counts"] == {"paired": 3, "never_succeeded": 1}
    assert cluster["outcomes"]["read"] == cluster["outcomes"]["records"] == 4
    # Two mixed runs, and both sides of the strategy that worked first time.
    assert cluster["pairs"]["counts"] == {
        "mixed_code": 2,
        "first_time_strategy": 1,
        "first_time_code": 1,
    }


def test_a_row_that_stands_in_its_topic_twice_counts_once(deployment: Deployment) -> None:
    deployment.say(*mixed_run("m-1"))
    deployment.settle()
    for topic in map(deployment.names.topic, (PAIRS, RUN_OUTCOMES)):
        (row,) = deployment.records(topic)
        deployment.send(topic, row.key(), row.value())

    cluster = deployment.run_json("status")["cluster"]

    assert cluster["pairs"] == {"counts": {"mixed_code": 1}, "read": 2, "records": 2}
    assert cluster["outcomes"] == {"counts": {"paired": 1}, "read": 2, "records": 2}


def test_every_record_of_a_batch_is_counted(deployment: Deployment) -> None:
    """The embedded broker, asked where a partition ends, forgets all but a batch's first record."""
    deployment.say(*mixed_run("m-1"))
    deployment.settle()

    facts = deployment.run_json("status")

    scored_rows = deployment.names.prefix + "pairstream.scored-rows.v1"
    assert records(facts, scored_rows) == len(deployment.records(scored_rows)) == 2
    assert records(facts, deployment.names.topic(RUN_EVENTS)) == 5


def test_lag_is_what_the_workers_have_not_committed(deployment: Deployment) -> None:
    events = deployment.names.topic(RUN_EVENTS)
    requests = deployment.names.topic(GARBLE_REQUESTS)
    deployment.say(*first_time_run("f-1"))
    assert deployment.run_json("status")["cluster"]["worker"]["lag"] == {events: 4, requests: 0}

    deployment.settle()
    deployment.say(started("o-1"), proposed("o-1"), started("o-2"))

    worker = deployment.run_json("status")["cluster"]["worker"]
    assert worker["group"] == deployment.names.worker_app
    assert worker["lag"] == {events: 3, requests: 2}


def test_bounded_figures_say_that_they_are_bounds(deployment: Deployment) -> None:
    for number in range(20):
        deployment.say(*mixed_run(f"m-{number}"))
    deployment.settle()

    cluster = deployment.run_json("status", "--newest", 4)["cluster"]
    text = deployment.run("status", "--newest", 4)

    # One record of each partition that has some.
    assert cluster["outcomes"]["read"] <= 4 < cluster["outcomes"]["records"] == 20
    assert sum(cluster["pairs"]["counts"].values()) == cluster["pairs"]["read"] <= 4
    assert "open runs      at least 0 (in the newest" in text
    assert f"of {cluster['pairs']['records']} records; --newest reads more)" in text


def test_the_data_directory_gives_position_datasets_and_the_way_to_the_next(
    deployment: Deployment,
) -> None:
    four_runs(deployment)
    deployment.take_in()
    dataset = deployment.cut()
    deployment.garble()
    deployment.take_in()
    deployment.say(*mixed_run("m-3"))
    deployment.settle()

    facts = deployment.run_json("status", "--trigger-pairs", 5)

    assert facts["cluster"]["trainer"] == {"position_from": "segments", "lag": 1, "note": None}
    assert facts["next_dataset"] == {
        "new_pairs": 2, "trigger_pairs": 5, "missing_pairs": 3, "held_back": {},
        "waits": [{"policy": "pairs", "why": "2 of 5 pairs"}],
    }  # fmt: skip
    assert facts["data_dir"]["waiting"] == {}
    directory = facts["data_dir"]
    assert directory["new_rules"] == {"first_time_code": 1, "first_time_strategy": 1}
    (shown,) = directory["datasets"]
    assert shown["name"] == dataset.name == "ds-000001"
    assert (shown["pairs"], shown["runs"], shown["rules"]) == (2, 2, {"mixed_code": 2})
    assert directory["latest"] is None

    text = deployment.run("status", "--trigger-pairs", 5)
    assert "2 of 5 new pairs, 3 to go: 1 first_time_code, 1 first_time_strategy" in text


def test_it_says_why_no_dataset_is_cut_now(deployment: Deployment) -> None:
    deployment.say(*mixed_run("m-1"), *mixed_run("m-2"))
    deployment.settle()
    deployment.take_in()

    facts = deployment.run_json("status", "--trigger-pairs", 5)["next_dataset"]
    assert facts["waits"] == [{"policy": "pairs", "why": "2 of 5 pairs"}]
    assert "waits:" not in deployment.run("status", "--trigger-pairs", 5)

    deployment.env |= {
        "PAIRSTREAM_TRIGGER_TASKS": "3",
        "PAIRSTREAM_TRIGGER_AGE_SECONDS": "86400",
        "PAIRSTREAM_TRIGGER_QUIET_HOURS": "00:00-23:59",
    }
    told = deployment.run_json("status", "--trigger-pairs", 5)["next_dataset"]["waits"]
    text = deployment.run("status", "--trigger-pairs", 5)

    reasons = {wait["policy"]: wait["why"] for wait in told}
    assert reasons["pairs"].startswith("2 of 5 pairs, or the oldest one's age in 2")
    assert reasons["tasks"] == "2 of 3 tasks"
    assert "; 2 of 3 tasks" in text
    assert "waits: 2 of 5 pairs, or" in text


def test_a_training_that_waits_says_for_what(deployment: Deployment) -> None:
    folder = deployment.data.models / "dpo-ds-000001"
    folder.mkdir(parents=True)
    note_wait(folder, "waits for the GPU")
    deployment.step("dpo-ds-000001", "requested", "ds-000001")
    deployment.step("dpo-ds-000001", "building", "ds-000001")

    [training] = deployment.run_json("status")["trainings"]
    assert (training["state"], training["waits"]["why"]) == ("building", "waits for the GPU")
    assert "building  2026-11-23T10:00:00Z  waits: waits for the GPU" in deployment.run("status")


def test_trainings_are_joined_from_their_folders_and_their_topic(deployment: Deployment) -> None:
    refused = Verdict(passed=False, checks=[Check(name="margin", passed=False)])
    write_ended_training(
        deployment.data, "dpo-ds-000001", "ds-000001", exit_code=0, why=None, gate=refused
    )
    write_ended_training(
        deployment.data, "dpo-ds-000002", "ds-000002", exit_code=12, why="no memory"
    )
    (deployment.data.models / "latest").symlink_to("dpo-ds-000001")
    deployment.step("dpo-ds-000001", "started", "ds-000001")
    deployment.step("dpo-ds-000003", "requested", "ds-000003")
    deployment.step("dpo-ds-000003", "started", "ds-000003")

    facts = deployment.run_json("status")
    text = deployment.run("status")

    states = {t["training_id"]: t["state"] for t in facts["trainings"]}
    assert states == {
        "dpo-ds-000001": "succeeded",
        "dpo-ds-000002": "failed",
        "dpo-ds-000003": "started",
    }
    assert facts["trainings"][0]["figures"]["last"] == {"loss": 0.5}
    assert facts["trainings"][0]["gate"]["checks"][0]["name"] == "margin"
    assert "2026-11-23T10:00:00Z  gate refused: margin  loss 0.5, eval_rewards" in text
    assert "failed  2026-11-23T10:00:00Z  no memory" in text
    assert facts["data_dir"]["latest"] == "dpo-ds-000001"


def test_a_data_directory_of_another_topic_tells_no_lag(
    embedded_broker: str, deployment: Deployment, tmp_path: Path
) -> None:
    other = Deployment(embedded_broker, f"other-{deployment.names.prefix}", deployment.data.root)
    other.say(*mixed_run("m-1"))
    other.settle()
    other.take_in()

    trainer = deployment.run_json("status")["cluster"]["trainer"]

    assert (trainer["position_from"], trainer["lag"]) == (None, None)
    assert other.names.topic(PAIRS) in trainer["note"]


def test_a_trainer_elsewhere_is_known_by_its_group(deployment: Deployment) -> None:
    deployment.say(*mixed_run("m-1"), *mixed_run("m-2"))
    deployment.settle()
    pairs = deployment.names.topic(PAIRS)
    seen = deployment.records(pairs)[0]
    positions = {seen.partition(): seen.offset() + 1}
    deployment.commit(deployment.names.trainer_group, pairs, positions)

    trainer = deployment.run_json("status")["cluster"]["trainer"]

    assert trainer == {"position_from": "group", "lag": 1, "note": None}


def test_missing_topics_are_named_with_the_command_that_makes_them(
    pairstream: Pairstream, embedded_broker: str, prefix: str
) -> None:
    env = {"PAIRSTREAM_BOOTSTRAP_SERVERS": embedded_broker, "PAIRSTREAM_TOPIC_PREFIX": prefix}

    text = pairstream("status", env=env).stdout

    name = Names(prefix).topic(RUN_EVENTS)
    (line,) = [line for line in text.splitlines() if line.split()[:1] == [name]]
    assert line.endswith("missing: run `pairstream topics apply`")


def test_without_a_broker_the_data_directory_is_shown_and_the_exit_code_is_1(
    pairstream: Pairstream, deployment: Deployment
) -> None:
    deployment.say(*mixed_run("m-1"))
    deployment.settle()
    deployment.take_in()
    deployment.cut()
    nobody = {**deployment.env, "PAIRSTREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"}

    done = pairstream("status", "--json", env=nobody, check=False)

    assert done.returncode == 1
    assert "no broker answers at 127.0.0.1:1" in done.stderr
    shown = json.loads(done.stdout)
    assert shown["cluster"] is None
    assert shown["data_dir"]["datasets"][0]["pairs"] == 1


def test_the_first_line_says_where_it_looks(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.env["PAIRSTREAM_BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    monkeypatch.setattr("pairstream.commands.status.ANSWER_SECONDS", 0.0)

    done = CliRunner().invoke(cli, ["status"], env=deployment.env)

    assert isinstance(done.exception, PairstreamError)
    where, cluster, *rest = done.stdout.splitlines()
    assert where == f"pairstream at 127.0.0.1:1, data in {deployment.data.root}"
    assert cluster == "cluster        no broker answers"
    assert rest[0].startswith("data directory")


def test_rows_of_strangers_neither_steer_the_terminal_nor_stop_the_command(
    deployment: Deployment,
) -> None:
    outcomes = deployment.names.topic(RUN_OUTCOMES)
    row = {"run_id": "r-1", "reason": "\x1b[2Jgone\nopen runs 999"}
    deployment.send(outcomes, b"r-1", json.dumps(row).encode())
    deployment.send(outcomes, b"r-2", b"\xff no JSON")

    text = deployment.run("status")

    assert "\x1b" not in text
    assert r"settled runs   2: 1 \x1b[2Jgone\nopen runs 999, 1 unreadable" in text


@pytest.mark.parametrize(
    ("ranges", "positions", "records"),
    [
        ({}, {}, 0),
        ({0: (0, 5)}, {}, 5),
        ({0: (3, 5)}, {}, 2),
        ({0: (0, 5)}, {0: 5}, 0),
        ({0: (0, 5), 1: (0, 2)}, {0: 4}, 1 + 2),
        ({0: (3, 5)}, {0: 1}, 2),  # what retention took is not waiting any more
        ({0: (0, 5)}, {0: 9}, 0),  # a position in a topic that was made anew
    ],
)
def test_lag_counts_what_is_there_and_not_done(
    ranges: dict[int, tuple[int, int]], positions: dict[int, int], records: int
) -> None:
    assert lag(ranges, positions) == records


@pytest.mark.parametrize(
    ("folder", "step", "shown"),
    [
        ("succeeded", "started", "succeeded"),
        ("failed", "started", "failed"),
        ("started", "requested", "requested"),
        ("requested", "succeeded", "succeeded"),  # its folder lies elsewhere
        (None, "started", "started"),
        (None, "promoted", "succeeded"),  # what was promoted had succeeded
        (None, "refused", "succeeded"),
        (None, "progress", "started"),
        ("started", "cleaned", "cleaned"),
        ("succeeded", "rolled_back", "succeeded"),
        ("started", None, "started"),
    ],
)
def test_a_folder_that_says_how_a_training_ended_is_believed_first(
    folder: TrainingStepName | None, step: TrainingStepName | None, shown: TrainingStepName
) -> None:
    time = datetime(2026, 11, 23, tzinfo=UTC)
    folders = (
        [TrainingFacts(training_id="t", dataset="d", state=folder, time=time, detail=None)]
        if folder
        else []
    )
    steps = [TrainingStep("t", step, time, "d", "0")] if step else []

    assert [training.state for training in join_trainings(folders, steps)] == [shown]


def test_status_loads_neither_faust_nor_docker() -> None:
    code = (
        "import sys, pairstream.commands.status, pairstream.overview, pairstream.overview_text\n"
        "print({'faust', 'docker', 'aiokafka'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


@pytest.mark.kafka
def test_apache_kafka_tells_how_many_workers_there_are(
    apache_kafka: ApacheKafka, prefix: str, tmp_path: Path
) -> None:
    deployment = Deployment(apache_kafka.bootstrap_servers, prefix, tmp_path / "data")
    assert deployment.run_json("status")["cluster"]["worker"]["members"] == 0
    group = {"group.id": deployment.names.worker_app, "auto.offset.reset": "earliest"}
    consumer = Consumer(clients.connection(deployment.settings) | group)
    consumer.subscribe([deployment.names.topic(RUN_EVENTS)])
    deployment.say(started("r-1"))
    assert consumer.poll(60) is not None  # it is in the group now

    worker = deployment.run_json("status")["cluster"]["worker"]
    consumer.close()

    assert worker["members"] == 1
    assert worker["lag"][deployment.names.topic(RUN_EVENTS)] == 1
