"""`pairstream verify` on Apache Kafka: all is well with recorded runs in worker and trainer."""

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from pairstream.cluster import Cluster, apply_topics
from schemas.clients import connection
from schemas.topics import RUN_EVENTS, RUN_OUTCOMES
from tests.apache_kafka import ApacheKafka
from tests.conftest import Pairstream
from tests.kafka.services import Deployment
from tests.verify.healthy import findings

pytestmark = pytest.mark.kafka

RUNS, SCORED, PAIRS_IN_ALL, GARBLED = 164, 862, 209, 46


@pytest.fixture
def deployment(apache_kafka: ApacheKafka, prefix: str, tmp_path: Path) -> Deployment:
    made = Deployment(apache_kafka.bootstrap_servers, prefix, tmp_path)
    list(apply_topics(Cluster(made.settings), made.settings))
    return made


def test_recorded_runs_are_found_whole_while_they_are_worked_on_and_afterwards(
    deployment: Deployment, recorded_runs: Path, pairstream: Pairstream
) -> None:
    def report() -> dict[str, Any]:
        done = pairstream("verify", "--json", env=deployment.environment, check=False)
        assert done.stdout, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        assert findings(found) == {}
        assert done.returncode == 0
        return found

    lines = recorded_runs.read_bytes().splitlines(keepends=True)
    part = deployment.folder / "part.jsonl"
    part.write_bytes(b"".join(lines[: len(lines) // 2]))
    pairstream("ingest", part, env=deployment.environment)
    with deployment.running("worker") as killed:
        killed.wait_until(lambda: bool(deployment.rows(RUN_OUTCOMES)), "the first outcome")
        report()  # while it works
    report()  # after its death
    part.write_bytes(b"".join(lines[len(lines) // 2 :]) + b"no event\n")
    pairstream("ingest", part, env=deployment.environment, check=False)
    with deployment.running("worker") as worker:
        worker.wait_until(lambda: _settled(deployment) == RUNS, "every run's outcome")
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.stop() == 0, worker.log
    small = {"trigger_pairs": "90", "segment_pairs": "20"}
    with deployment.running("trainer", "--once", "--launcher", "none", **small) as trainer:
        assert trainer.await_end() == 0, trainer.log

    whole = report()

    checked = {check["check"]: check["checked"] for check in whole["checks"]}
    assert checked["outcomes"] == RUNS
    assert checked["scored_rows"] == SCORED
    assert checked["garble_requests"] == GARBLED
    assert checked["pairs"] == checked["once"] == PAIRS_IN_ALL
    assert checked["rebuild"] >= 90

    _take_half_of_the_events(deployment)

    rest = report()
    assert 0 < rest["events"]["settled_runs"] < RUNS
    notes = {check["check"]: check["note"] for check in rest["checks"]}
    assert notes["outcomes"] == "runs that began before the first event read are left out"


def _settled(deployment: Deployment) -> int:
    return len({row["run_id"] for row in deployment.rows(RUN_OUTCOMES)})


def _take_half_of_the_events(deployment: Deployment) -> None:
    """As retention does."""
    topic = deployment.names.topic(RUN_EVENTS)
    ranges = Cluster(deployment.settings).ranges({topic: deployment.settings.partitions})[topic]
    before = [TopicPartition(topic, p, (low + end) // 2) for p, (low, end) in ranges.items()]
    admin = AdminClient(connection(deployment.settings))
    for taken in admin.delete_records(before).values():
        taken.result()
