"""Row l: what recording an event costs the agent's thread, and that it never waits."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bench import Bench, Row
from benchmarks.deployment import Deployment
from benchmarks.processes import ROOT
from benchmarks.report import Figures, Goal, Measured

EVENTS = 20_000
WAYS = ("plain", "spool")


def measure(bench: Bench) -> Measured:
    measured = Measured(
        facts={"events": EVENTS, "code_bytes": 1000},
        notes=["Attempts as quickly as a thread can record them; stopped: no broker is there."],
    )
    for _ in range(bench.options.turns):
        turn: Figures = {}
        with bench.deployment() as deployment:
            for way in WAYS:
                found = _one(bench, deployment, way)
                turn |= {f"{way}_{name}": value for name, value in found.items()}
        measured.turns.append(bench.told(turn))
    return measured


def _one(bench: Bench, deployment: Deployment, way: str) -> Figures:
    """With the broker and, of a process that knew it, without."""
    spool = bench.new_folder() if way == "spool" else ""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.probes.record", str(EVENTS), str(spool)],
        env=os.environ | deployment.environment,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told: Figures = json.loads(process.stdout.readline())
        with _stopped(bench):
            process.stdin.write("\n")
            process.stdin.flush()
            without = json.loads(process.stdout.readline())
            process.kill()
    return told | {f"stopped_{name}": value for name, value in without.items()}


@contextmanager
def _stopped(bench: Bench) -> Iterator[None]:
    bench.kafka.kill()
    try:
        yield
    finally:
        bench.kafka.start()


ROWS = (
    Row(
        "l",
        "client: recording an event",
        (
            Goal("plain_median_us", "at most", 20, "us"),
            Goal("spool_median_us", "at most", 20, "us"),
            Goal("plain_stopped_max_ms", "at most", 50, "ms"),
            Goal("spool_stopped_max_ms", "at most", 50, "ms"),
        ),
        measure,
    ),
)
