"""The Faust table of runs: Faust places its partitions, the content is ours.

The table's changelog is written by the worker's one producer (streams/pipeline.py) and read back
by streams/changelog.py; Faust's recovery only waits for it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.tables.table import Table
from faust.types import TP, EventT

from schemas.crash_points import crash_point
from schemas.errors import PairstreamError
from streams.changelog import State
from streams.partition import Partition
from streams.state import SOURCE_KEY, check_source

# By a name of its own: what Faust logs as this module is silenced (pairstream/logs.py).
log = structlog.get_logger("pairstream.state")

Writes = Mapping[bytes, bytes | None]

# Faust's part of a takeover takes a second or two, and its requests 30 s at most.
TAKEOVER_SECONDS = 45.0
LOOK_SECONDS = 1.0


class RunTable(Table[bytes, bytes]):
    """Holds `Partition` objects, one for each partition of the events that is ours now.

    Between a rebalance and the end of its recovery it holds none, and nothing is delivered.
    """

    read_state: Callable[[set[int]], Mapping[int, State]]
    read_committed: Callable[[set[int]], Mapping[int, int]]
    describe_source: Callable[[], bytes]
    new_partition: Callable[[], Partition]
    now_ms: Callable[[], int]
    failed: Callable[[str], None]
    source: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.runs: dict[int, Partition] = {}
        self.leftovers: dict[int, Writes] = {}
        # Since when partitions wait to be taken over; none while their state is read.
        self._waiting_since: float | None = None
        # Whether a rebalance has ended, with the state of all that it gave us.
        self._is_settled = False

    @property
    def is_taking_over(self) -> bool:
        """Whether partitions are awaited, or their state is being read."""
        return not self._is_settled

    async def watch(self) -> None:
        """End the worker where partitions are its own and nobody takes them over: the group would
        wait for it for ever. Where a rebalance overtakes another, Faust may wait for a third one.
        """
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            since = self._waiting_since
            if since is not None and time.monotonic() - since > TAKEOVER_SECONDS:
                self.failed(
                    f"partitions that were assigned {TAKEOVER_SECONDS:.0f} s ago could not be "
                    "taken over; a restart joins the group anew"
                )

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],
        newly_assigned: set[TP],
        generation_id: int = 0,
    ) -> None:
        """Let go of everything: what another worker may have written meanwhile is read again."""
        crash_point("worker.assigned")
        self.runs = {}
        self.leftovers = {}
        self._waiting_since = time.monotonic() if assigned else None
        self._is_settled = not assigned

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Read the state of the partitions that are ours; any failure ends the worker."""
        generation = self.app.consumer_generation_id
        ours = {tp.partition for tp in self.app.consumer.assignment() if tp.topic == self.source}
        crash_point("worker.recovery")
        self._waiting_since = None
        try:
            restored = await asyncio.to_thread(self._restore, ours)
        except PairstreamError as error:
            self.failed(str(error))
            return
        except Exception as error:  # noqa: BLE001 - Faust would swallow it and go on with nothing
            self.failed(f"the state could not be read: {error!r}")
            return
        if self.app.consumer_generation_id == generation:
            self.runs = {partition: runs for partition, (runs, _) in restored.items()}
            self.leftovers = {number: left for number, (_, left) in restored.items() if left}
            self._is_settled = True
            log.info(
                "partitions_taken_over",
                partitions=sorted(ours),
                open_runs=sum(len(runs.open) for runs in self.runs.values()),
                settled_runs=sum(len(runs.settled) for runs in self.runs.values()),
            )
            crash_point("worker.recovered")
        else:
            self._waiting_since = time.monotonic()

    def _restore(self, ours: set[int]) -> dict[int, tuple[Partition, Writes]]:
        """Each partition with what must be written before anything of it is committed."""
        source, committed = self.describe_source(), self.read_committed(ours)
        restored: dict[int, tuple[Partition, Writes]] = {}
        for partition, records in self.read_state(ours).items():
            found, _ = records.pop(SOURCE_KEY, (None, 0))
            check_source(source, found, committed[partition])
            runs = self.new_partition()
            # By the writer's clock, which may be another's: silence counts from the newest on, and
            # what passed without a worker is none.
            newest = max((ms for _, ms in records.values()), default=0)
            ahead = self.now_ms() - newest
            left = runs.restore((key, value, ms + ahead) for key, (value, ms) in records.items())
            restored[partition] = (runs, left if found else {SOURCE_KEY: source, **left})
        return restored

    def apply_changelog_batch(self, batch: Iterable[EventT[Any]]) -> None:
        """Nothing: `on_recovery_completed` has read it all."""


class _Recovery(Recovery):
    def need_recovery(self) -> bool:
        """Never Faust's: `RunTable` restores itself before records flow."""
        return False

    async def _wait(self, coro: Any, timeout: Any = None) -> None:  # noqa: ASYNC109 - Faust's
        """However long: at the time limit Faust takes itself for stopped, for good, and follows no
        rebalance any more. A rebalance still ends the waiting, and so does a stop.
        """
        await super()._wait(coro)


class RunTableManager(TableManager):
    """Uses the recovery above."""

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = _Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
