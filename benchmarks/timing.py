"""How long the bare loop and the worker take over what stands in a topic."""

import sys
from contextlib import closing
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.deployment import TAKEN_OVER, Deployment, Fed
from benchmarks.load import Load
from benchmarks.machine import cpu_seconds
from benchmarks.processes import Process, output_of
from benchmarks.report import Figures, ratio
from schemas.topics import RUN_EVENTS, Topic


@dataclass(frozen=True)
class Taken:
    """What a piece of work took: by the clock, and of the processors."""

    seconds: float
    worker_cpu: float
    broker_cpu: float


def bare_seconds(deployment: Deployment, records: int, topic: Topic = RUN_EVENTS) -> float:
    """To read and parse every record of a topic, from the assignment on."""
    settings = deployment.settings
    place = (settings.bootstrap_servers, deployment.names.topic(topic), str(settings.partitions))
    command = (sys.executable, "-m", "benchmarks.peers.bare", *place, str(records))
    return float(output_of(command, {}))


def settle_all(bench: Bench, deployment: Deployment, runs: int) -> Taken:
    """A worker, from taking over its partitions to the last outcome in its topic.

    It is stopped when it has committed everything.
    """
    with closing(deployment.watch()) as outcomes, deployment.worker() as worker:
        begun = worker.said_at(TAKEN_OVER)
        before = _cpu(bench, worker)
        ended = outcomes.reached_at(runs, worker)
        after = _cpu(bench, worker)
        deployment.await_idle(worker)
        worker.stop()
    return Taken(ended - begun, after[0] - before[0], after[1] - before[1])


def beside_bare(bench: Bench, deployment: Deployment, fed: Fed) -> Figures:
    """One turn of the bare loop and the worker over the same events; per second and event."""
    bare = fed.events / bare_seconds(deployment, fed.events)
    taken = settle_all(bench, deployment, fed.runs)
    worker = fed.events / taken.seconds
    return {
        "bare": bare,
        "worker": worker,
        "of_bare": ratio(worker, bare),
        "worker_cpu_us": taken.worker_cpu / fed.events * 1e6,
        "broker_cpu_us": taken.broker_cpu / fed.events * 1e6,
        "megabytes_per_second": fed.bytes / taken.seconds / 1e6,
    }


def warm_up(bench: Bench, load: Load) -> None:
    """Once a node: a broker is slow until its machine code is made."""
    if bench.is_warm:
        return
    bench.say("warming up the broker")
    with bench.deployment() as deployment:
        beside_bare(bench, deployment, deployment.fill(load))
    bench.is_warm = True


def _cpu(bench: Bench, worker: Process) -> tuple[float, float]:
    return cpu_seconds(worker.pid), cpu_seconds(bench.kafka.pid)
