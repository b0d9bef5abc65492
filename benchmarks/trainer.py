"""Rows h and i: the trainer takes in pairs beside a loop that only writes them, and cuts."""

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Bench, Row
from benchmarks.deployment import Deployment
from benchmarks.machine import peak_memory
from benchmarks.processes import PAIRSTREAM, output_of, probe
from benchmarks.report import Figures, Goal, Measured, ratio
from benchmarks.timing import settle_all, warm_up
from pairstream.cluster import Cluster
from schemas.source import Source
from schemas.topics import PAIRS
from trainer.index import PairIndex
from trainer.layout import DataDir, make_folder
from trainer.segments import Segment
from trainer.source import open_source, remember_starts

EVENTS = 200_000
KNOWN_IDS = 5_000_000
CUT_PAIRS, CUT_FEWER = 100_000, 10_000
STARTED = "trainer_started"
# More than there are: nothing is cut.
NEVER = "1000000000"

# Stands for the ids that are known: it covers one offset, and holds no line.
_KNOWN = "e3b0c44298fc1c14"


def take_in(bench: Bench) -> Measured:
    """Row h."""
    load = bench.load(EVENTS)
    warm_up(bench, load)
    known = bench.scaled(KNOWN_IDS)
    with bench.deployment() as deployment:
        settle_all(bench, deployment, deployment.fill(load).runs)
        pairs = deployment.count(PAIRS)
        measured = Measured(facts={"load": load.name, "pairs": pairs, "known_ids": known})
        bench.say(f"making an index of {known:,} ids")
        index = _index_of(bench.new_folder(), known)
        measured.facts["index_bytes"] = index.stat().st_size
        for _ in range(bench.options.turns):
            measured.turns.append(bench.told(_turn(bench, deployment, index, known, pairs)))
        _trainer(deployment, deployment.data)
        measured.correctness["verify_holds"] = deployment.verified()
    return measured


def _turn(bench: Bench, deployment: Deployment, index: Path, known: int, pairs: int) -> Figures:
    bare = float(output_of(_bare_writer(deployment, bench.new_folder() / "lines", pairs), {}))
    data = bench.new_folder()
    _prepare(DataDir(data), index, known, deployment)
    seconds, peak = _trainer(deployment, data)
    taken = sum(path.read_bytes().count(b"\n") for path in data.glob("segments/*/*.jsonl"))
    if taken != pairs - 1:  # the made-up segment covers one offset
        raise RuntimeError(f"the trainer took in {taken} pairs of {pairs}")
    shutil.rmtree(data)
    return {
        "bare": pairs / bare,
        "trainer": pairs / seconds,
        "of_bare": ratio(bare, seconds),
        "peak_megabytes": peak / 1e6,
    }


def _bare_writer(deployment: Deployment, out: Path, pairs: int) -> tuple[str, ...]:
    settings = deployment.settings
    place = (settings.bootstrap_servers, deployment.names.topic(PAIRS), str(settings.partitions))
    return (sys.executable, "-m", "benchmarks.peers.bare_writer", *place, str(pairs), str(out))


def _index_of(folder: Path, known: int) -> Path:
    """An index that knows so many ids, evenly spread over all that there may be."""
    path = folder / "index.sqlite"
    index = PairIndex(path)
    index.add(_segment(known), _rows(known))
    index.close()
    return path


def _rows(known: int) -> Iterator[tuple[str, int, int]]:
    step = 2**128 // known
    return ((f"{number * step:032x}", 0, 0) for number in range(known))


def _segment(known: int) -> Segment:
    return Segment(partition=0, first=0, last=0, rows=known, sha256_start=_KNOWN)


def _prepare(data: DataDir, index: Path, known: int, deployment: Deployment) -> None:
    """A data directory whose only segment, in partition 0, gave all these ids."""
    source: Source
    [source] = Cluster(deployment.settings).describe(deployment.names.topic(PAIRS))
    partitions = deployment.settings.partitions
    remember_starts(data, open_source(data, source), dict.fromkeys(range(partitions), 0))
    path = data.segments / _segment(known).path
    make_folder(path.parent)
    path.touch()
    shutil.copy(index, data.index)
    shutil.copytree(index.with_suffix(".ids"), data.index.with_suffix(".ids"))


def _trainer(deployment: Deployment, data: Path) -> tuple[float, int]:
    """Seconds from its start of work to its end, and the most memory that it held."""
    command = (*PAIRSTREAM, "trainer", "--once")
    with deployment.running(command, data_dir=str(data), trigger_pairs=NEVER) as process:
        begun = process.said_at(STARTED)
        peak = 0
        while process.exit_code is None:
            peak = max(peak, peak_memory(process.pid))
            time.sleep(0.01)
        ended = time.time()
        if process.exit_code:
            raise RuntimeError(f"the trainer failed: {process.log[-3000:]}")
    return ended - begun, peak


def cut(bench: Bench) -> Measured:
    """Row i."""
    counts = {"": bench.scaled(CUT_PAIRS), "_of_fewer": bench.scaled(CUT_FEWER)}
    measured = Measured(facts={f"pairs{suffix}": count for suffix, count in counts.items()})
    folders = {suffix: bench.new_folder() for suffix in counts}
    for suffix, count in counts.items():
        probe("prepare_cut", folders[suffix], count)
    for _ in range(bench.options.turns):
        turn: Figures = {}
        for suffix, folder in folders.items():
            told = probe("cut", folder)
            if told["pairs"] < counts[suffix]:
                raise RuntimeError(f"{told['pairs']} pairs were cut, not {counts[suffix]}")
            turn[f"seconds{suffix}"] = told["seconds"]
            turn[f"peak_megabytes{suffix}"] = told["peak"] / 1e6
        turn["peak_to_fewer"] = ratio(turn["peak_megabytes"], turn["peak_megabytes_of_fewer"])
        measured.turns.append(bench.told(turn))
    return measured


ROWS = (
    Row(
        "h",
        "trainer taking in pairs, 5 million ids known",
        (Goal("of_bare", "at least", 0.5), Goal("peak_megabytes", "at most", 256, "MB")),
        take_in,
    ),
    Row(
        "i",
        "cutting a dataset of 100,000 pairs",
        (Goal("seconds", "at most", 5, "s"), Goal("peak_to_fewer", "at most", 1.2)),
        cut,
    ),
)
