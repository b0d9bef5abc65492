"""An agent in a process of its own, which reports by the client library and may be killed.

    python -m tests.chaos.agent_process SEED RATE JOURNAL

Each life sends runs of its own, and goes on in the same journal.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

from pairstream_client.errors import Refused
from pairstream_client.events import Event
from pairstream_client.publisher import Publisher
from schemas.placement import partition_of
from tests.chaos.journal import Journal
from tests.chaos.ledger import HEADER
from tests.chaos.made_runs import sendings

CLOSE_SECONDS = 50.0
# The counts tell what was acknowledged only when nothing waits, so that must come about.
MOST_WAITING = 20


class Reporter:
    """Sends, and writes down what the publisher's counts say for certain."""

    def __init__(self, journal: Journal, partitions: int, *, seed: int, number: int) -> None:
        self._journal = journal
        self._partitions = partitions
        self._number = number
        # The client refuses what is no event before it is sent.
        self._sendings = (each for each in sendings(seed, number) if not each.is_bad)
        self._publisher = Publisher()
        self._waiting: dict[str, int] = {}
        self._count = 0

    def send_next(self) -> None:
        sending = next(self._sendings)
        assert sending.key is not None
        assert sending.value is not None
        self._count += 1
        send_id = f"{self._number}-{self._count}"
        self._journal.open(send_id, sending)
        try:
            self._publisher.send(Event(sending.key, sending.value, [(HEADER, send_id.encode())]))
        except Refused as error:
            self._journal.refuse(send_id, str(error))
        else:
            self._waiting[send_id] = partition_of(sending.key, self._partitions)

    @property
    def has_room(self) -> bool:
        return len(self._waiting) < MOST_WAITING

    def settle(self) -> None:
        """Where nothing waits and nothing failed, everything was acknowledged."""
        stats = self._publisher.stats
        if stats.queued or not self._waiting:
            return
        if stats.failed:
            # It does not tell which: they stay unknown, and another one begins to count anew.
            self._publisher.close(0)
            self._publisher = Publisher()
        else:
            self._journal.acknowledge(self._waiting)
        self._waiting = {}

    def close(self) -> bool:
        """Whether every send has its answer."""
        left = self._publisher.close(CLOSE_SECONDS)
        self.settle()
        return left == 0


def main() -> None:
    seed, rate, path = sys.argv[1:]
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    # Of no other life, whenever that was.
    number = time.time_ns() // 1000
    partitions = int(os.environ["PAIRSTREAM_PARTITIONS"])
    reporter = Reporter(Journal(Path(path)), partitions, seed=int(seed), number=number)
    while not stopped.wait(1 / float(rate)):
        reporter.settle()
        if reporter.has_room:
            reporter.send_next()
    sys.exit(0 if reporter.close() else 3)


if __name__ == "__main__":
    main()
