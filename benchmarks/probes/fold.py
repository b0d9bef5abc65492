"""Microseconds that folding and settling an event takes: `... fold short|long ATTEMPTS`."""

import json
import sys
import time
from itertools import count

from benchmarks.batches import batches
from benchmarks.long_runs import events_of
from streams.partition import Partition

BATCH = 2000


def main(kind: str, long: int) -> None:
    offsets = count()
    records = [(key, value, next(offsets)) for key, value in events_of(kind, long)]
    partition = Partition(extended=False)
    begun = time.perf_counter()
    for batch in batches(records, BATCH):
        partition.apply(batch, now_ms=0)
    print(json.dumps((time.perf_counter() - begun) / len(records) * 1e6))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
