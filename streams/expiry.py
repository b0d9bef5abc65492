"""Run timeouts: a silent run is ended by an event in the log, so a replay ends it there too."""

import asyncio
import time
from datetime import UTC, datetime

import msgspec

from schemas.crash_points import crash_point
from schemas.events import RunExpired
from schemas.settings import WorkerSettings
from schemas.topics import RUN_EVENTS, Names
from streams.fence import StallFence
from streams.partition import Partition
from streams.producer import Record, RecordProducer
from streams.table import RunTable

TICKS_A_TIMEOUT = 20
# Open runs may outgrow their bound by what comes within so long.
LONGEST_TICK_SECONDS = 5.0


class Clock:
    """Milliseconds since 1970 that never jump: the wall clock at the start, then a steady one."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now_ms(self) -> int:
        return int((self._offset + time.monotonic()) * 1000)


class Expiry:
    """Asks for the expiry of silent runs and forgets old settled ones."""

    def __init__(self, settings: WorkerSettings, names: Names, clock: Clock) -> None:
        self._timeout_ms = int(settings.run_timeout_seconds * 1000)
        self._memory_ms = int(settings.settled_run_memory_seconds * 1000)
        self._most_bytes = settings.open_runs_max_bytes
        self._events = names.topic(RUN_EVENTS)
        self._changelog = names.state_changelog
        self._clock = clock

    async def serve(self, table: RunTable, producer: RecordProducer, fence: StallFence) -> None:
        """Look at every partition that is ours, for as long as the worker runs."""
        tick = min(self._timeout_ms / 1000 / TICKS_A_TIMEOUT, LONGEST_TICK_SECONDS)
        while True:
            await asyncio.sleep(tick)
            fence.check()
            partitions = dict(table.runs)
            for number, runs in partitions.items():
                excess = runs.size - self._most_bytes // len(partitions)
                if due := self._due(number, runs, excess):
                    await producer.send(due)
                    crash_point("expiry.sent")

    def _due(self, partition: int, runs: Partition, excess: int) -> list[Record]:
        now_ms = self._clock.now_ms()
        time = datetime.fromtimestamp(now_ms / 1000, UTC)
        records = [
            Record(
                self._events,
                run_id.encode(),
                msgspec.json.encode(RunExpired(run_id, time, events)),
                partition,
            )
            for run_id, events in runs.silent(now_ms - self._timeout_ms, excess=excess)
        ]
        forgotten = runs.forget(now_ms - self._memory_ms)
        return records + [Record(self._changelog, key, None, partition) for key in forgotten]
