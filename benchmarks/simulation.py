"""What this machine is too small to show: how evenly runs fall on many partitions and workers.

    python -m benchmarks.simulation [--rate 70000] [--runs-a-worker 20000]

Runs are placed by a hash and live side by side; each says events at its own pace (lognormal, as
agents differ). Each worker has as many partitions as the others, and the busiest one decides
when the group falls behind. Medians of five draws.
"""

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

DRAWS = 5

# The share of its time that a worker is meant to work: the rest is for spikes and for catching up.
UTILISATION = 0.5

# Of the logarithm of a run's events a second: nine in ten lie within a factor of five.
SPREAD = 1.0


@dataclass(frozen=True)
class Layout:
    """A group of workers on a topic."""

    partitions: int
    workers: int


def busiest(layout: Layout, runs: int, rng: Generator) -> tuple[float, float]:
    """The load of the busiest partition and of the busiest worker, as multiples of the mean."""
    pace = rng.lognormal(0, SPREAD, runs)
    place = rng.integers(layout.partitions, size=runs)
    partitions = np.bincount(place, weights=pace, minlength=layout.partitions)
    workers = np.bincount(
        np.arange(layout.partitions) % layout.workers, weights=partitions, minlength=layout.workers
    )
    return (
        float(partitions.max() / partitions.mean()),
        float(workers.max() / (pace.sum() / layout.workers)),
    )


def smallest_group(events: float, rate: float, partitions_a_worker: int, runs: int) -> Layout:
    """The fewest workers of which the busiest still has its spare time.

    Args:
        events: a second, of all runs together.
        rate: events a second that one worker can do.
        runs: that live side by side.
    """
    workers = max(1, round(events / (rate * UTILISATION)))
    while True:
        layout = Layout(workers * partitions_a_worker, workers)
        load = median_busiest(layout, runs)[1] * events / workers
        if load <= rate * UTILISATION or layout.partitions >= runs:
            return layout
        workers = max(workers + 1, int(workers * 1.05))


def median_busiest(layout: Layout, runs: int) -> tuple[float, float]:
    """As `busiest`, over the draws."""
    rng = np.random.default_rng(layout.partitions)
    drawn = [busiest(layout, runs, rng) for _ in range(DRAWS)]
    partition, worker = np.median(np.array(drawn), axis=0)
    return float(partition), float(worker)


def catch_up_seconds(events: float, layout: Layout, rate: float, outage: float) -> float:
    """How long a group that stood still for `outage` seconds takes to come to lag 0."""
    spare = layout.workers * rate - events
    return outage * events / spare


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=70_000, help="events a second and worker")
    parser.add_argument("--partitions-a-worker", type=int, default=4)
    parser.add_argument("--run-rate", type=float, default=0.5, help="events a second and run")
    args = parser.parse_args()
    print("| events/s | runs at once | workers | partitions | busiest partition | busiest worker "
          "| after 10 min standstill |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for events in (1_000, 100_000, 10_000_000):
        runs = int(events / args.run_rate)
        layout = smallest_group(events, args.rate, args.partitions_a_worker, runs)
        partition, worker = median_busiest(layout, runs)
        back = catch_up_seconds(events, layout, args.rate, 600)
        print(
            f"| {events:,} | {runs:,} | {layout.workers} | {layout.partitions} | "
            f"{partition:.2f} of the mean | {worker:.2f} | {back:,.0f} s |"
        )


if __name__ == "__main__":
    main()
