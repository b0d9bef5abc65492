"""A worker that dies twice in a row at the same step, at each of its steps."""

import pytest

from schemas.topics import PAIRS, RUN_OUTCOMES
from tests.conftest import Pairstream
from tests.crash_points import crash_points
from tests.kafka.deaths import die_at
from tests.kafka.services import Deployment, records
from tests.streams.histories import CRASHED, attempted, finished, ok, proposed, started

pytestmark = pytest.mark.kafka

RUNS_A_DEATH = 6
DEATHS = 2


def halves(run_id: str) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """So that a death meets runs that are open and runs that end."""
    return (
        [started(run_id), proposed(run_id=run_id), attempted(1, "a", CRASHED, run_id=run_id)],
        [attempted(2, "b", ok(2.5), run_id=run_id), finished(run_id)],
    )


def test_worker_that_dies_twice_when_it_has_asked_for_expiries_settles_each_run_once(
    deployment: Deployment, pairstream: Pairstream
) -> None:
    runs = [f"run-{number}" for number in range(8)]
    events = [event for run in runs for event in halves(run)[0]]
    deployment.send(records(events))
    for _ in range(DEATHS):
        die_at(deployment, "expiry.sent", run_timeout_seconds="1")
    with deployment.running("worker", run_timeout_seconds="1") as worker:
        worker.wait_until(lambda: len(outcomes(deployment)) == len(runs), "the end of all runs")
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.stop() == 0, worker.log

    assert outcomes(deployment) == set(runs)
    pairstream("verify", env=deployment.environment)


def outcomes(deployment: Deployment) -> set[str]:
    return {row["run_id"] for row in deployment.rows(RUN_OUTCOMES)}


# Each death waits for the end of a session.
@pytest.mark.timeout(900)
def test_worker_that_dies_twice_in_a_row_at_each_step_loses_nothing(
    deployment: Deployment, pairstream: Pairstream
) -> None:
    runs = 0
    waiting: list[dict[str, object]] = []

    def send_more() -> None:
        nonlocal runs, waiting
        events, waiting = waiting, []
        for _ in range(RUNS_A_DEATH):
            first, second = halves(f"run-{runs}")
            events += first
            waiting += second
            runs += 1
        deployment.send(records(events))

    for point in crash_points("worker."):
        for _ in range(DEATHS):
            send_more()
            die_at(deployment, point)
    send_more()
    deployment.send(records(waiting))
    with deployment.running("worker") as worker:
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.stop() == 0, worker.log

    assert len(outcomes(deployment)) == runs
    assert len({row["pair_id"] for row in deployment.rows(PAIRS)}) == runs
    pairstream("verify", env=deployment.environment)
