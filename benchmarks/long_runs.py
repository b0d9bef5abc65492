"""Row g: a few very long runs against many short ones with as many events.

All of a kind are interleaved, so that none begins and ends within a batch.
"""

from collections.abc import Iterator

from benchmarks.bench import Bench, Row
from benchmarks.load import Event, interleave, one_run
from benchmarks.processes import probe
from benchmarks.report import Figures, Goal, Measured, ratio
from benchmarks.timing import settle_all, warm_up
from pairstream.reader import TopicReader

SHORT, LONG = 100, 10_000
LONG_RUNS = 8


def measure(bench: Bench) -> Measured:
    warm_up(bench, bench.load(100_000))
    long = bench.scaled(LONG)
    measured = Measured(
        facts={"attempts_of_long_runs": long, "attempts_of_short_runs": SHORT, "runs": LONG_RUNS}
    )
    for _ in range(bench.options.turns):
        folded = {name: probe("fold", name, long) for name in ("short", "long")}
        turn = {f"fold_us_{name}": us for name, us in folded.items()}
        turn["fold_long_to_short"] = ratio(folded["long"], folded["short"])
        for name in ("short", "long"):
            turn |= {f"{figure}_{name}": v for figure, v in _worker(bench, name, long).items()}
        for figure in ("worker_us", "changelog_bytes"):
            turn[f"{figure}_long_to_short"] = ratio(turn[f"{figure}_long"], turn[f"{figure}_short"])
        measured.turns.append(bench.told(turn))
    return measured


def events_of(kind: str, long: int) -> Iterator[Event]:
    """`LONG_RUNS` runs of `long` attempts, or as many attempts in runs of `SHORT`."""
    if kind == "long":
        return interleave((one_run(f"long-{n:04d}", long) for n in range(LONG_RUNS)), LONG_RUNS)
    runs = LONG_RUNS * max(1, long // SHORT)
    return interleave((one_run(f"short-{n:03d}", SHORT) for n in range(runs)), runs)


def _worker(bench: Bench, kind: str, long: int) -> Figures:
    with bench.deployment() as deployment:
        fed = deployment.fill(events_of(kind, long))
        taken = settle_all(bench, deployment, fed.runs)
        changelog = TopicReader(
            deployment.settings, deployment.names.state_changelog, deployment.settings.partitions
        )
        written = sum(len(m.key() or b"") + len(m.value() or b"") for m in changelog.read())
    return {
        "worker_us": taken.seconds / fed.events * 1e6,
        "changelog_bytes": written / fed.events,
    }


ROWS = (
    Row(
        "g",
        "runs of 10,000 attempts against runs of 100",
        (
            Goal("fold_long_to_short", "at most", 1.5),
            Goal("worker_us_long_to_short", "at most", 1.5),
            Goal("changelog_bytes_long_to_short", "at most", 1.05),
        ),
        measure,
    ),
)
