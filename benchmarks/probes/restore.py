"""How fast a worker's own functions take its state over: `... restore PARTITIONS`."""

import gc
import json
import os
import sys
import time

from pairstream.cluster import Cluster
from schemas import clients
from schemas.settings import WorkerSettings
from schemas.topics import Names
from streams.changelog import StateReader
from streams.partition import Partition
from streams.state import SOURCE_KEY


def main(partitions: int) -> None:
    gc.set_threshold(50_000, 20, 20)  # as the worker does
    settings = WorkerSettings(
        bootstrap_servers=os.environ["PAIRSTREAM_BOOTSTRAP_SERVERS"],
        topic_prefix=os.environ["PAIRSTREAM_TOPIC_PREFIX"],
    )
    names = Names(settings.topic_prefix)
    ranges = Cluster(settings).ranges({names.state_changelog: partitions})[names.state_changelog]
    reader = StateReader(clients.reader(settings, group=names.worker_app), names.state_changelog)
    begun = time.monotonic()
    state = reader.state(set(range(partitions)))
    read = time.monotonic()
    open_runs = 0
    for records in state.values():
        records.pop(SOURCE_KEY, None)
        runs = Partition.by(settings)
        runs.restore((key, value, ms) for key, (value, ms) in records.items())
        open_runs += len(runs.open)
    ended = time.monotonic()
    reader.close()
    told = {
        "records": sum(high - low for low, high in ranges.values()),
        "open_runs": open_runs,
        "read_seconds": read - begun,
        "seconds": ended - begun,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(int(sys.argv[1]))
