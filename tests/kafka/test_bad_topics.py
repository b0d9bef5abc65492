"""Topics that were made anew or got partitions: refused with the way on, which keeps runs whole."""

from typing import Any

import pytest

from schemas.topics import GARBLE_REQUESTS, RUN_EVENTS, RUN_OUTCOMES, Topic
from tests.conftest import Pairstream
from tests.kafka.services import TAKEN_OVER, Deployment
from tests.kafka.test_worker import await_settled, runs

pytestmark = pytest.mark.kafka

WIDER = 6


# --- Made anew ---------------------------------------------------------------------------------


def test_runs_that_span_a_topic_made_anew_are_whole_and_settled_once(
    deployment: Deployment,
) -> None:
    *open_run, finish = runs(1, 1)
    last = runs(0, 1)[-1]
    with deployment.running("worker") as worker:
        worker.await_log(TAKEN_OVER)
        deployment.send([*runs(0, 1), *open_run])
        await_settled(deployment, worker, 1)
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.stop() == 0, worker.log
    deployment.make_anew(deployment.names.topic(RUN_EVENTS))
    deployment.send([finish, last])

    with deployment.running("worker", "--rebuild") as worker:
        await_settled(deployment, worker, 2)
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.stop() == 0, worker.log
    rows = _distinct(deployment, RUN_OUTCOMES, "run_id")
    assert [row["outcome"] for row in rows] == ["paired", "paired"]


def _distinct(deployment: Deployment, topic: Topic, key: str) -> list[dict[str, Any]]:
    """Rows by id; what stands twice must be the same twice."""
    known: dict[str, dict[str, Any]] = {}
    for row in deployment.rows(topic):
        assert known.setdefault(row[key], row) == row
    return list(known.values())


# --- Partitions added --------------------------------------------------------------------------


def test_partitions_added_under_a_worker_end_it_with_the_way_to_migrate(
    deployment: Deployment, pairstream: Pairstream
) -> None:
    with deployment.running("worker") as running:
        running.await_log(TAKEN_OVER)
        deployment.send(runs(0, 10))
        await_settled(deployment, running, 10)
        deployment.widen(deployment.names.topic(RUN_EVENTS), to=WIDER)
        assert running.await_end() == 1, running.log
        assert "partitions" in running.log

    refused = pairstream("worker", env=deployment.environment, check=False)
    assert refused.returncode == 1
    assert "PAIRSTREAM_TOPIC_PREFIX" in refused.stderr
    assert "docs/operations.md" in refused.stderr


def test_partitions_added_to_every_topic_are_refused_as_well(deployment: Deployment) -> None:
    deployment.send(runs(0, 10))
    with deployment.running("worker") as worker:
        await_settled(deployment, worker, 10)
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.stop() == 0, worker.log
    names = deployment.names
    read = (names.topic(RUN_EVENTS), names.topic(GARBLE_REQUESTS))
    deployment.widen(*read, names.state_changelog, to=WIDER)
    logs = [_log_of_a_start(deployment, *options) for options in ((), ("--rebuild",))]
    assert [TAKEN_OVER in log for log in logs] == [False, False]
    assert ["PAIRSTREAM_TOPIC_PREFIX" in log for log in logs] == [True, True]


def _log_of_a_start(deployment: Deployment, *options: str) -> str:
    with deployment.running("worker", *options) as worker:
        worker.wait_until(
            lambda: worker.process.poll() is not None or TAKEN_OVER in worker.log, "its decision"
        )
        return worker.log
