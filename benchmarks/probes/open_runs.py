"""What open runs take in memory: `... open_runs resident|traced RUNS`."""

import gc
import json
import os
import sys
import tracemalloc
from itertools import count

from benchmarks.batches import batches
from benchmarks.machine import resident_memory
from benchmarks.restart import opened_runs
from schemas.memory import release_memory
from streams.partition import Partition

BATCH = 2000


def main(way: str, runs: int) -> None:
    partition = Partition(extended=False)
    offsets = count()
    text = 0
    if way == "traced":
        tracemalloc.start()
    before = _held(way)
    for batch in batches(opened_runs(runs), BATCH):
        text += sum(len(value) for _, value in batch)
        partition.apply([(key, value, next(offsets)) for key, value in batch], now_ms=0)
    del batch
    print(json.dumps({"grown": _held(way) - before, "text": text, "runs": len(partition.open)}))


def _held(way: str) -> int:
    gc.collect()
    release_memory()
    return tracemalloc.get_traced_memory()[0] if way == "traced" else resident_memory(os.getpid())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
