"""The state is lost, or the topics are others: refused, and made anew by `worker --rebuild`."""

import pytest

from schemas.topics import PAIRS, RUN_EVENTS, RUN_OUTCOMES
from tests.conftest import Pairstream
from tests.kafka.deaths import KILLED
from tests.kafka.services import TAKEN_OVER, Deployment, records
from tests.streams.histories import CRASHED, attempted, finished, ok, proposed, started

pytestmark = pytest.mark.kafka

REFUSED = "pairstream worker --rebuild"
RUNS = 30


def first_half(run_id: str) -> list[dict[str, object]]:
    return [
        started(run_id),
        proposed(run_id=run_id),
        attempted(1, "fail()", CRASHED, run_id=run_id),
    ]


def second_half(run_id: str) -> list[dict[str, object]]:
    return [attempted(2, "free()", ok(2.5), run_id=run_id), finished(run_id)]


def work(deployment: Deployment, events: list[dict[str, object]], *flags: str) -> None:
    with deployment.running("worker", *flags) as worker:
        worker.await_log(TAKEN_OVER)
        deployment.send(records(events))
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.stop() == 0, worker.log


def halves_done(deployment: Deployment) -> list[str]:
    """Runs of which the first half is in the state; others are settled."""
    runs = [f"run-{number}" for number in range(RUNS)]
    settled = [event for run in runs[:10] for event in first_half(run) + second_half(run)]
    work(deployment, settled + [event for run in runs[10:] for event in first_half(run)])
    return runs


def refuse(deployment: Deployment) -> None:
    with deployment.running("worker") as worker:
        assert worker.await_end() == 1
        assert REFUSED in worker.log


def test_lost_state_is_refused_and_made_anew_from_the_events(
    deployment: Deployment, pairstream: Pairstream
) -> None:
    runs = halves_done(deployment)
    deployment.make_anew(deployment.names.state_changelog)
    refuse(deployment)

    with deployment.running("worker", "--rebuild", crash_point="rebuild.state_written") as half:
        assert half.await_end() == KILLED, half.log
    refuse(deployment)
    work(deployment, [], "--rebuild")
    again = [event for run in runs for event in second_half(run)]
    work(deployment, again)

    outcomes = deployment.rows(RUN_OUTCOMES)
    assert sorted(row["run_id"] for row in outcomes) == sorted(runs)
    assert {row["outcome"] for row in outcomes} == {"paired"}
    assert len(deployment.rows(PAIRS)) == len(runs)
    assert deployment.dead_letters(RUN_EVENTS) == []
    pairstream("verify", env=deployment.environment)


def test_rebuilding_beside_a_worker_is_refused(deployment: Deployment) -> None:
    with deployment.running("worker") as worker:
        worker.await_log(TAKEN_OVER)
        with deployment.running("worker", "--rebuild") as rebuilder:
            assert rebuilder.await_end() == 1
            assert "stop all workers first" in rebuilder.log
        assert worker.stop() == 0, worker.log


@pytest.mark.parametrize("is_running", [True, False], ids=["under a worker", "between two"])
def test_events_topic_that_was_made_anew_is_refused_and_read_from_its_beginning(
    deployment: Deployment, is_running: bool
) -> None:
    halves_done(deployment)
    if is_running:
        with deployment.running("worker") as worker:
            worker.await_log(TAKEN_OVER)
            deployment.make_anew(deployment.names.topic(RUN_EVENTS))
            assert worker.await_end() == 1
            assert REFUSED in worker.log
    else:
        deployment.make_anew(deployment.names.topic(RUN_EVENTS))
    refuse(deployment)

    events = [event for run in ("new-1", "new-2") for event in first_half(run) + second_half(run)]
    work(deployment, events, "--rebuild")

    new = [row for row in deployment.rows(RUN_OUTCOMES) if row["run_id"].startswith("new")]
    assert [row["outcome"] for row in new] == ["paired", "paired"]
