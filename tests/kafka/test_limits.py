"""A worker within its bounds: runs that grow without an end, broken producers."""

from collections import Counter

import pytest

from schemas.topics import RUN_EVENTS, RUN_OUTCOMES
from tests.conftest import Pairstream
from tests.kafka.services import Deployment, Record, records
from tests.streams.histories import IDLE, attempted, finished, proposed, started

pytestmark = pytest.mark.kafka


def reasons(deployment: Deployment) -> dict[str, tuple[str, str]]:
    """By run: why it was discarded, and how it ended."""
    rows = deployment.rows(RUN_OUTCOMES)
    assert len({row["run_id"] for row in rows}) == len(rows)
    return {row["run_id"]: (row["reason"], row["settled_by"]) for row in rows}


def test_runs_that_grow_without_an_end_are_discarded_and_others_go_on(
    deployment: Deployment, pairstream: Pairstream
) -> None:
    """One of many attempts, one of much text; both go on after they were too large."""
    many = [attempted(n, "a", IDLE, run_id="many") for n in range(1, 2001)]
    long = [attempted(n, "x" * 400_000, IDLE, run_id="long") for n in range(1, 11)]
    small = [started("small"), proposed(run_id="small"), finished("small")]
    large = {"run_max_bytes": str(2**20)}
    with deployment.running("worker", **large) as worker:
        deployment.send(records([*many, *long, finished("many"), *small]))
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.stop() == 0, worker.log

    assert reasons(deployment) == {
        "many": ("too_large", "limit"),
        "long": ("too_large", "limit"),
        "small": ("no_runnable_code", "finished"),
    }
    assert deployment.dead_letters(RUN_EVENTS) == []
    large = {f"PAIRSTREAM_{name.upper()}": value for name, value in large.items()}
    pairstream("verify", env={**deployment.environment, **large})


def test_longest_silent_runs_are_settled_early_when_all_together_are_too_large(
    deployment: Deployment, pairstream: Pairstream
) -> None:
    runs = [f"r-{number}" for number in range(40)]
    with deployment.running("worker", open_runs_max_bytes=str(20 * 2000)) as worker:
        deployment.send(records([started(run) for run in runs]))
        worker.wait_until(lambda: bool(reasons(deployment)), "the end of some runs")
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.stop() == 0, worker.log

    found = reasons(deployment)
    assert Counter(found.values()) == {("no_runnable_code", "timeout"): len(found)}
    assert len(found) < len(runs)
    pairstream("verify", env=deployment.environment)


def test_a_broken_producer_is_not_drained_into_the_dead_letters(deployment: Deployment) -> None:
    limit = {"dead_letters_per_minute": "50"}
    bad: list[Record] = [(b"r", b"{broken")]
    with deployment.running("worker", **limit) as worker:
        deployment.send(bad * 50)
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        deployment.send(bad)
        assert worker.await_end() == 1
        assert "PAIRSTREAM_DEAD_LETTERS_PER_MINUTE" in worker.log
        assert "invalid_event" in worker.log
    assert len(deployment.dead_letters(RUN_EVENTS)) == 50

    with deployment.running("worker", dead_letters_per_minute="1000") as worker:
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.stop() == 0, worker.log
    assert len(deployment.dead_letters(RUN_EVENTS)) == 51
