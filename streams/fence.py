"""Ends a worker that stood still for so long that the group may have given its partitions away.

A stopped process (SIGSTOP, a suspended machine) wakes up in the middle of its work and does not
know that it was declared dead. Brokers refuse its commits but not its records (Kafka fences those
of transactions only), so it must notice by itself, before it writes.
"""

import asyncio
import time
from collections.abc import Callable


class StallFence:
    """`check` before each write; a gap in the beats longer than allowed calls `stalled`."""

    def __init__(self, allowed_seconds: float, *, stalled: Callable[[str], None]) -> None:
        self._allowed = allowed_seconds
        self._stalled = stalled
        self._last_beat = time.monotonic()

    def check(self) -> None:
        gap = time.monotonic() - self._last_beat
        if gap > self._allowed:
            self._stalled(
                f"stood still for {gap:.1f} s, long enough for the group to give the partitions "
                "to another worker; a restart goes on from the log"
            )

    def beat(self) -> None:
        """The process runs. Work that holds up the loop for long says so itself."""
        self.check()
        self._last_beat = time.monotonic()

    async def serve(self) -> None:
        """Beat for as long as the worker runs."""
        while True:
            self.beat()
            await asyncio.sleep(self._allowed / 10)
