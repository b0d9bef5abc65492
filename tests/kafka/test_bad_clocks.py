"""Clocks that are wrong: an agent's, a producer's, a worker's. Only silence settles a run."""

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from schemas.topics import RUN_EVENTS, RUN_OUTCOMES
from streams import expiry
from tests.kafka.services import TAKEN_OVER, Deployment, Record
from tests.kafka.test_worker import await_settled, runs

pytestmark = pytest.mark.kafka

HOUR = 3600
TEN_YEARS = 10 * 365 * 24 * HOUR


def test_what_time_agents_and_producers_say_ends_no_run_and_keeps_none_open(
    deployment: Deployment,
) -> None:
    """Eight runs by each clock, of which one falls silent."""
    clocks = (-TEN_YEARS, -HOUR, HOUR - 60)
    silent = {f"run-{8 * number + 7}" for number in range(len(clocks))}

    with deployment.running("worker", run_timeout_seconds="3") as worker:
        worker.await_log(TAKEN_OVER)
        sent = time.time()
        for number, ahead in enumerate(clocks):
            *begun, _ = runs(8 * number, 8)
            _send_by(deployment, begun, time.time() + ahead)
        await_settled(deployment, worker, 8 * len(clocks))

    settled_by = {row["run_id"]: row["settled_by"] for row in deployment.rows(RUN_OUTCOMES)}
    assert {run for run, by in settled_by.items() if by == "timeout"} == silent
    for expired in _expiries(deployment):
        written = datetime.fromisoformat(orjson.loads(expired.value())["time"])
        assert written.timestamp() > sent + 2


def _send_by(deployment: Deployment, records: list[Record], now: float) -> None:
    """As an agent does whose clock and whose producer's clock show this time."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    stamped = [
        (key, orjson.dumps({**orjson.loads(value or b""), "time": stamp})) for key, value in records
    ]
    deployment.send(stamped, timestamp_ms=int(now * 1000))


def _expiries(deployment: Deployment) -> list[Any]:
    events = deployment.messages(deployment.names.topic(RUN_EVENTS))
    return [event for event in events if orjson.loads(event.value())["type"] == "run.expired"]


def test_events_of_a_producer_whose_clock_is_hours_ahead_are_taken(deployment: Deployment) -> None:
    ahead_ms = int((time.time() + 2 * HOUR) * 1000)
    assert deployment.offer(runs(0, 1), timestamp_ms=ahead_ms) == []


def test_retention_counts_from_the_arrival_of_an_event(deployment: Deployment) -> None:
    deployment.send(runs(0, 1), timestamp_ms=int((time.time() - TEN_YEARS) * 1000))
    kinds = {m.timestamp()[0] for m in deployment.messages(deployment.names.topic(RUN_EVENTS))}
    assert kinds == {TIMESTAMP_LOG_APPEND_TIME}


def test_a_jump_of_the_wall_clock_moves_no_time_of_a_running_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = expiry.Clock()
    before = clock.now_ms()
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + HOUR)
    assert before <= clock.now_ms() < before + HOUR * 1000


def test_a_worker_whose_clock_is_an_hour_ahead_settles_no_run_before_its_timeout(
    deployment: Deployment, tmp_path: Path
) -> None:
    """The state that it takes over was written by a worker whose clock was right."""
    timeout = 15
    *begun, _ = runs(0, 1)
    settings = {"run_timeout_seconds": str(timeout)}
    with deployment.running("worker", **settings) as right:
        right.await_log(TAKEN_OVER)
        sent_ms = time.time() * 1000
        deployment.send(begun)
        right.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert right.stop() == 0, right.log

    deployment.environment["PYTHONPATH"] = str(_shifted_clock(tmp_path, HOUR))
    with deployment.running("worker", **settings) as wrong:
        await_settled(deployment, wrong, 1)
    [expired] = _expiries(deployment)
    assert expired.timestamp()[1] > sent_ms + timeout * 1000


def _shifted_clock(folder: Path, ahead: int) -> Path:
    """A folder to be searched for modules first: every process's wall clock is then ahead."""
    module = "import time\n_right = time.time\ntime.time = lambda: _right() + %d\n"
    (folder / "sitecustomize.py").write_text(module % ahead)
    return folder
