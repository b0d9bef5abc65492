"""Row c: `pairstream replay`, start-up included, beside the bare loop over the same topic."""

import itertools
import time
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

from benchmarks.bench import Bench, Row
from benchmarks.deployment import Deployment, Fed
from benchmarks.load import Event, Load
from benchmarks.peers.job import rows_of
from benchmarks.processes import PAIRSTREAM, output_of
from benchmarks.report import Figures, Goal, Measured, ratio
from benchmarks.timing import bare_seconds, warm_up
from schemas.topics import PAIRS, RUN_EVENTS, Topic
from trainer.datasets import DatasetManifest, verify_dataset

EVENTS = 500_000

SOURCES = (("events", RUN_EVENTS), ("pairs", PAIRS))


def measure(bench: Bench) -> Measured:
    load = bench.load(EVENTS)
    measured = Measured(facts={"load": load.name})
    warm_up(bench, load)
    with bench.deployment() as deployment:
        fed = {RUN_EVENTS: deployment.fill(load), PAIRS: deployment.fill(pairs_of(load), PAIRS)}
        measured.facts |= {"events": fed[RUN_EVENTS].events, "pairs": fed[PAIRS].events}
        rebuilt: list[DatasetManifest] = []
        for _ in range(bench.options.turns):
            turn: Figures = {}
            for name, topic in SOURCES:
                out = bench.new_folder() / name
                turn |= _one(deployment, name, topic, fed[topic], out)
                rebuilt.append(verify_dataset(out))
            measured.turns.append(bench.told(turn))
        measured.correctness = _judge(rebuilt[-2:], fed[PAIRS])
    return measured


def pairs_of(load: Load) -> Iterator[Event]:
    """The pairs that the load gives, by the pure functions; runs must follow one another."""
    for key, run in itertools.groupby(load, itemgetter(0)):
        for topic, value in rows_of(value for _, value in run):
            if topic is PAIRS:
                yield key, value


def _one(deployment: Deployment, name: str, topic: Topic, fed: Fed, out: Path) -> Figures:
    bare = bare_seconds(deployment, fed.events, topic)
    seconds = replay_seconds(deployment, name, out)
    return {
        f"{name}_bare": fed.events / bare,
        f"{name}_replay": fed.events / seconds,
        f"{name}_of_bare": ratio(bare, seconds),
        f"{name}_seconds": seconds,
    }


def replay_seconds(deployment: Deployment, name: str, out: Path) -> float:
    """From the start of the command to its end."""
    begun = time.monotonic()
    command = (*PAIRSTREAM, "replay", "--from", name, "--out", str(out))
    output_of(command, deployment.environment)
    return time.monotonic() - begun


def _judge(rebuilt: list[DatasetManifest], pairs: Fed) -> dict[str, bool]:
    from_events, from_pairs = rebuilt
    return {
        "events_and_pairs_give_the_same_bytes": from_events.files == from_pairs.files,
        "every_pair_is_there": from_events.pairs == pairs.events,
    }


ROWS = (
    Row(
        "c",
        "replay with its start-up",
        (
            Goal("events_of_bare", "at least", 0.8),
            Goal("pairs_of_bare", "at least", 0.8),
        ),
        measure,
    ),
)
