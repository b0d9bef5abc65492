"""Row k: what a second worker on a second core gives, and what more partitions cost.

The workers take over their partitions, are stopped by a signal while the events are put into the
topic, and go on all at once. The clock ends when nine tenths of the runs are settled, so that the
last of uneven partitions does not count.
"""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial

from benchmarks.bench import Bench, Row
from benchmarks.deployment import PARTITIONS, TAKEN_OVER
from benchmarks.load import Load
from benchmarks.machine import cpu_seconds, pin
from benchmarks.processes import Process
from benchmarks.report import Figures, Goal, Measured, ratio
from benchmarks.timing import warm_up

EVENTS = 320_000
COUNTED = 0.9
# The group must not give a stopped worker up.
PATIENCE = "300"
ALL_CORES = ""


def measure(bench: Bench) -> Measured:
    load = bench.load(EVENTS)
    warm_up(bench, load)
    cores = sorted(os.sched_getaffinity(0))[:2]
    measured = Measured(
        facts={"load": load.name, "events": load.events, "cores": cores},
        notes=[
            "one_core: a worker, the broker and the watcher, all on one core. two_cores: a worker "
            "on each, the broker on both. four_partitions, eight_partitions: one worker, on both. "
            "Broker shares are seconds of processor by seconds of the clock."
        ],
    )
    if len(cores) < 2:
        raise RuntimeError("this row needs two cores")
    first, second = map(str, cores)
    for _ in range(bench.options.turns):
        with _confined(bench, {cores[0]}):
            turn = _named("one_core", _rate(bench, load, [first]))
        turn |= _named("two_cores", _rate(bench, load, [first, second]))
        turn |= _named("four_partitions", _rate(bench, load, [ALL_CORES]))
        turn |= _named("eight_partitions", _rate(bench, load, [ALL_CORES], partitions=8))
        turn["two_of_one_core"] = ratio(turn["two_cores"], turn["one_core"])
        turn["two_of_one_worker"] = ratio(turn["two_cores"], turn["four_partitions"])
        turn["eight_of_four"] = ratio(turn["eight_partitions"], turn["four_partitions"])
        measured.turns.append(bench.told(turn))
    return measured


def _named(name: str, figures: tuple[float, float]) -> Figures:
    rate, share = figures
    return {name: rate, f"{name}_broker_share": share}


@contextmanager
def _confined(bench: Bench, cores: set[int]) -> Iterator[None]:
    """The broker, and this process with those that it starts, use only these cores."""
    everywhere = os.sched_getaffinity(0)
    for pid in (bench.kafka.pid, os.getpid()):
        pin(pid, cores)
    try:
        yield
    finally:
        for pid in (bench.kafka.pid, os.getpid()):
            pin(pid, everywhere)


def _rate(
    bench: Bench, load: Load, workers: Sequence[str], *, partitions: int = PARTITIONS
) -> tuple[float, float]:
    """Events a second of workers on these cores, and the broker's share of the machine."""
    with ExitStack() as stack:
        deployment = stack.enter_context(bench.deployment(partitions=partitions))
        outcomes = stack.enter_context(closing(deployment.watch()))
        started = [
            stack.enter_context(deployment.worker(cores=cores, session_timeout_seconds=PATIENCE))
            for cores in workers
        ]
        for worker in started:
            share = partitions // len(workers)
            worker.wait_until(partial(_holds, worker, share), "it had its share of the partitions")
        for worker in started:
            worker.send(signal.SIGSTOP)
        fed = deployment.fill(load)
        begun, broker = time.time(), cpu_seconds(bench.kafka.pid)
        for worker in started:
            worker.send(signal.SIGCONT)
        ended = outcomes.reached_at(round(fed.runs * COUNTED), started[0])
        seconds, broker = ended - begun, cpu_seconds(bench.kafka.pid) - broker
        events = outcomes.count() * fed.events / fed.runs
    return events / seconds, broker / seconds


def _holds(worker: Process, partitions: int) -> bool:
    """Whether it has so many partitions now."""
    said = list(worker.said(TAKEN_OVER))
    return bool(said) and len(said[-1]["partitions"]) == partitions


ROWS = (
    Row(
        "k",
        "two workers on two cores against one on one; eight partitions against four",
        (
            Goal("two_of_one_core", "at least", 1.7),
            Goal("eight_of_four", "at least", 0.95),
        ),
        measure,
    ),
)
