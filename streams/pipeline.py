"""From folded batches to committed offsets, in order and with several batches in flight.

At every instant: rows acknowledged >= state acknowledged >= offset committed. So what a killed
worker leaves behind is redone, never lost, and the redone rows have the same ids.
"""

import asyncio
from collections import deque
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


class Pipeline:
    """Bounded by `depth` batches; `owns` tells whether a batch's partition is still ours."""

    def __init__(
        self,
        producer: RecordProducer,
        fence: StallFence,
        *,
        depth: int,
        owns: Callable[[Batch], bool],
    ) -> None:
        self._producer = producer
        self._fence = fence
        self._depth = depth
        self._owns = owns
        self._in_flight: deque[InFlight] = deque()
        self._changed = asyncio.Condition()

    async def feed(self, event: Batch, rows: Sequence[Record], state: Sequence[Record]) -> None:
        """Send a batch's rows; returns when there is room for the next batch."""
        self._fence.check()
        crash_point("worker.before_rows")
        delivery = await self._producer.send(rows)
        crash_point("worker.rows_sent")
        self._in_flight.append(InFlight(event, delivery, state))
        async with self._changed:
            self._changed.notify_all()
            await self._changed.wait_for(lambda: len(self._in_flight) < self._depth)

    async def finish(self) -> None:
        """Take batches to their end, oldest first, for as long as the worker runs."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._in_flight))
            await self._finish(self._in_flight[0])
            self._in_flight.popleft()
            async with self._changed:
                self._changed.notify_all()

    async def _finish(self, batch: InFlight) -> None:
        await batch.rows.done
        crash_point("worker.rows_acknowledged")
        self._fence.check()
        if not self._owns(batch.event):
            return  # Never acknowledged: whoever owns the partition now does it again.
        written = await self._producer.send(batch.state)
        crash_point("worker.state_sent")
        await written.done
        crash_point("worker.state_acknowledged")
        batch.event.ack()
