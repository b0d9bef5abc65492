"""Row e: a worker is killed with many open runs; how soon does its successor write a row?"""

import time
from collections.abc import Iterator
from contextlib import closing

from benchmarks.bench import Bench, Row
from benchmarks.deployment import TAKEN_OVER, Deployment
from benchmarks.load import Event, one_run
from benchmarks.processes import probe
from benchmarks.report import Figures, Goal, Measured
from benchmarks.timing import warm_up
from schemas.topics import RUN_OUTCOMES

RUNS = 100_000
EVENTS_A_RUN = 6
FINISHED_AT_THE_END = 500
STARTING = "worker_starting"
# Without one the group would wait for the end of the dead worker's session, 15 seconds.
NAME = "worker-0"


def measure(bench: Bench) -> Measured:
    runs = bench.scaled(RUNS)
    warm_up(bench, bench.load(100_000))
    with bench.deployment() as deployment:
        deployment.fill(opened_runs(runs))
        measured = Measured(facts={"open_runs": runs})
        with deployment.worker(group_instance_id=NAME) as worker:
            deployment.await_idle(worker)
            worker.kill()
        for number in range(bench.options.turns):
            measured.turns.append(bench.told(_restart(deployment, number)))
        measured.facts["changelog_records"] = measured.turns[-1]["changelog_records"]
        last = range(bench.options.turns, min(runs, FINISHED_AT_THE_END))
        deployment.fill(finish_of(number) for number in last)
        with deployment.worker(group_instance_id=NAME) as worker:
            worker.said_at(TAKEN_OVER)
            deployment.await_idle(worker)
            worker.stop()
        measured.correctness["verify_holds"] = deployment.verified()
    return measured


def opened_runs(runs: int) -> Iterator[Event]:
    """Runs without an end."""
    for number in range(runs):
        yield from _run(number)[:-1]


def finish_of(number: int) -> Event:
    """The event that ends such a run."""
    return _run(number)[-1]


def _run(number: int) -> list[Event]:
    return one_run(f"open-{number:06d}", EVENTS_A_RUN - 2)


def _restart(deployment: Deployment, number: int) -> Figures:
    """Finish one run, start a worker, and kill it when the run's outcome stands there."""
    restored = probe("restore", deployment.settings.partitions, environment=deployment.environment)
    with closing(deployment.watch(RUN_OUTCOMES)) as outcomes:
        before = outcomes.count()
        deployment.fill([finish_of(number)])
        begun = time.time()
        with deployment.worker(group_instance_id=NAME) as worker:
            ended = outcomes.reached_at(before + 1, worker)
            starting, taken_over = worker.said_at(STARTING), worker.said_at(TAKEN_OVER)
            worker.kill()
    return {
        "first_row_seconds": ended - begun,
        "process_start_seconds": starting - begun,
        "join_and_restore_seconds": taken_over - starting,
        "fold_and_write_seconds": ended - taken_over,
        "changelog_records": restored["records"],
        "records_per_second": restored["records"] / restored["seconds"],
        "read_seconds": restored["read_seconds"],
        "apply_seconds": restored["seconds"] - restored["read_seconds"],
    }


ROWS = (
    Row(
        "e",
        "restart after SIGKILL with 100,000 open runs",
        (
            Goal("first_row_seconds", "at most", 15, "s"),
            Goal("records_per_second", "at least", 60_000, "records/s"),
        ),
        measure,
    ),
)
