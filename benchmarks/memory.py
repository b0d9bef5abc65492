"""Row f: what an open run takes in a worker's memory beyond the text of its events."""

from benchmarks.bench import Bench, Row
from benchmarks.processes import probe
from benchmarks.report import Goal, Measured

RUNS = 20_000


def measure(bench: Bench) -> Measured:
    runs = bench.scaled(RUNS)
    measured = Measured(
        facts={"open_runs": runs},
        notes=[
            "resident: what the process grew by, in a process of its own; traced: what Python "
            "allocated, by tracemalloc, in another. Text: the events' bytes as they came."
        ],
    )
    for _ in range(bench.options.turns):
        resident = probe("open_runs", "resident", runs)
        traced = probe("open_runs", "traced", runs)
        measured.facts["text_bytes_a_run"] = resident["text"] / runs
        measured.turns.append(
            bench.told(
                {
                    "resident_bytes": (resident["grown"] - resident["text"]) / runs,
                    "traced_bytes": (traced["grown"] - traced["text"]) / runs,
                }
            )
        )
    return measured


ROWS = (
    Row(
        "f",
        "memory of an open run beyond its text",
        (
            Goal("resident_bytes", "at most", 4096, "B"),
            Goal("traced_bytes", "at most", 4096, "B"),
        ),
        measure,
    ),
)
