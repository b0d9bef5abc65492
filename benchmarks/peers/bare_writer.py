"""A loop that writes the values of a topic to a file, a line each, and does nothing else.

    python -m benchmarks.peers.bare_writer SERVERS TOPIC PARTITIONS RECORDS FILE

Writes the seconds from the assignment to the last line's being safe on the disk.
"""

import os
import sys
import time
from pathlib import Path

from benchmarks.peers.bare import records_of


def write(servers: str, topic: str, partitions: int, records: int, path: Path) -> float:
    with path.open("wb") as file:
        begun = time.monotonic()
        for value in records_of(servers, topic, partitions, records):
            file.write(value + b"\n")
        file.flush()
        os.fsync(file.fileno())
        return time.monotonic() - begun


if __name__ == "__main__":
    servers, topic, partitions, records, path = sys.argv[1:]
    print(write(servers, topic, int(partitions), int(records), Path(path)))
