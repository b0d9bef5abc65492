"""What recording takes the thread that does it: `... record EVENTS SPOOL`; again after each line
of standard input. An empty SPOOL is none.
"""

import json
import sys
import time

from benchmarks.load import PARTS
from benchmarks.report import percentile
from pairstream_client import Publisher, RunRecorder

ATTEMPTS_A_RUN = 100
CODE = "x = 1\n" * 166
WARM_UP = 1000


def main(events: int, spool: str) -> None:
    publisher = Publisher(spool=spool)
    _record(publisher, WARM_UP)
    while True:
        before = publisher.stats.dropped
        taken = _record(publisher, events)
        told = {
            "median_us": percentile(taken, 0.5) / 1e3,
            "p99_us": percentile(taken, 0.99) / 1e3,
            "max_ms": max(taken) / 1e6,
            "dropped": publisher.stats.dropped - before,
        }
        print(json.dumps(told), flush=True)
        if not sys.stdin.readline():
            return


def _record(publisher: Publisher, events: int) -> list[int]:
    """Nanoseconds of each attempt's recording."""
    part = [{"role": "user", "content": "Free some space. " * 8}]
    prompts = dict.fromkeys(PARTS, part)
    taken: list[int] = []
    while len(taken) < events:
        with RunRecorder(prompts, publisher=publisher) as run:
            strategy = run.propose("Look and remove.")
            for _ in range(min(ATTEMPTS_A_RUN, events - len(taken))):
                begun = time.perf_counter_ns()
                strategy.attempt(CODE, compiled=True, ran=True, score=1.0)
                taken.append(time.perf_counter_ns() - begun)
    return taken


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
