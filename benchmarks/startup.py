"""Row j: how long a user waits for the first line of a command."""

import os
import statistics
import subprocess
import time

from benchmarks.bench import Bench, Row
from benchmarks.processes import PAIRSTREAM, ROOT
from benchmarks.report import Goal, Measured
from pairstream.cluster import Cluster, apply_topics
from schemas.settings import TopicSettings
from streams.broker import EmbeddedBroker

TRIES = 10


def measure(bench: Bench) -> Measured:
    measured = Measured(
        facts={"tries": TRIES},
        notes=["Medians of the tries of a turn; status on the embedded broker, without work."],
    )
    with EmbeddedBroker() as broker:
        settings = TopicSettings(bootstrap_servers=broker.bootstrap_servers)
        list(apply_topics(Cluster(settings), settings))
        environment = {"PAIRSTREAM_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
        for _ in range(bench.options.turns):
            tries = [
                {
                    "help_seconds": _first_line("--help", {}),
                    "status_seconds": _first_line("status", environment),
                }
                for _ in range(TRIES)
            ]
            measured.turns.append(
                bench.told({n: statistics.median(t[n] for t in tries) for n in tries[0]})
            )
    return measured


def _first_line(argument: str, environment: dict[str, str]) -> float:
    begun = time.perf_counter()
    with subprocess.Popen(
        [*PAIRSTREAM, argument],
        env=os.environ | environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - begun
        process.stdout.read()
    if not line or process.returncode:
        raise RuntimeError(f"`pairstream {argument}` failed")
    return seconds


ROWS = (
    Row(
        "j",
        "first line of commands",
        (
            Goal("help_seconds", "at most", 0.35, "s"),
            Goal("status_seconds", "at most", 0.35, "s"),
        ),
        measure,
    ),
)
