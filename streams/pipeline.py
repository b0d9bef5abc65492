"""From folded batches to committed offsets, in order and with several batches in flight.

At every instant: rows acknowledged >= state acknowledged >= offset committed. So what a killed
worker leaves behind is redone, never lost, and the redone rows have the same ids.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.crash_points import crash_point
from streams.fence import StallFence
from streams.producer import Delivery, Record, RecordProducer
from streams.transport import Batch


@dataclass(frozen=True)
class InFlight:
    """A batch whose rows are on their way; its state may only follow them."""

    event: Batch
    rows: Delivery
    state: Sequence[Record]
    has_rows: bool


class Pipeline:
    """Bounded by `depth` batches; `owns` tells whether a batch's partition is still ours.

    `acknowledged` is told each batch whose rows, one at least, have all been acknowledged, and
    `written` each whose state has been.
    """

    def __init__(
        self,
        producer: RecordProducer,
        fence: StallFence,
        *,
        depth: int,
        owns: Callable[[Batch], bool],
        acknowledged: Callable[[Batch], None],
        written: Callable[[Batch], None],
    ) -> None:
        self._producer = producer
        self._fence = fence
        self._owns = owns
        self._acknowledged = acknowledged
        self._written = written
        self._rows_sent = asyncio.Queue[InFlight]()
        self._state_sent = asyncio.Queue[tuple[Batch, Delivery]]()
        # For batches that follow the one in hand.
        self._room = asyncio.Semaphore(depth - 1)

    async def feed(self, event: Batch, rows: Sequence[Record], state: Sequence[Record]) -> None:
        """Send a batch's rows; returns when there is room for the next batch."""
        self._fence.check()
        crash_point("worker.before_rows")
        delivery = await self._producer.send(rows)
        crash_point("worker.rows_sent")
        self._rows_sent.put_nowait(InFlight(event, delivery, state, bool(rows)))
        await self._room.acquire()

    async def finish(self) -> None:
        """Take batches to their end, oldest first, for as long as the worker runs."""
        await asyncio.gather(self._write_states(), self._acknowledge())

    async def _write_states(self) -> None:
        """Each behind its rows, without waiting for the state before it: small batches would wait
        for one another's round trips.
        """
        while True:
            batch = await self._rows_sent.get()
            await batch.rows.done
            crash_point("worker.rows_acknowledged")
            if batch.has_rows:
                self._acknowledged(batch.event)
            self._fence.check()
            if self._owns(batch.event):
                written = await self._producer.send(batch.state)
                crash_point("worker.state_sent")
                self._state_sent.put_nowait((batch.event, written))
            else:
                # Never acknowledged: whoever owns the partition now does it again.
                self._room.release()

    async def _acknowledge(self) -> None:
        while True:
            event, written = await self._state_sent.get()
            await written.done
            crash_point("worker.state_acknowledged")
            event.ack()
            self._room.release()
            self._written(event)
