"""A worker's parts as its vitals see them: asked from other threads, changed by none of them."""

from collections.abc import Iterator
from typing import cast

import faust

from schemas.metrics import Lag
from streams.partition import Partition
from streams.producer import RecordProducer
from streams.table import RunTable
from streams.transport import BatchConsumer


class WorkerParts:
    """Of one worker, whose consumer group is `group`."""

    def __init__(
        self, app: faust.App, table: RunTable, producer: RecordProducer, *, group: str
    ) -> None:
        self._app = app
        self._table = table
        self._producer = producer
        self._group = group

    def runs(self) -> list[Partition] | None:
        """Of the partitions that are ours; None while they are awaited, or their state is read."""
        return None if self._table.is_taking_over else list(self._table.runs.values())

    def lag(self) -> Iterator[Lag]:
        consumer = self._consumer
        for tp, done, end in consumer.progress() if consumer else ():
            if end is not None:  # else no answer has told it yet
                yield Lag(tp.topic, tp.partition, self._group, max(0, end - (done or 0)))

    def polled_at(self) -> float | None:
        """When the consumer last looked for records, on the steady clock."""
        return self._consumer.polled_at if self._consumer else None

    def reaches_brokers(self) -> bool:
        return self._producer.reaches_brokers()

    @property
    def _consumer(self) -> BatchConsumer | None:
        # By the property, Faust would make one where there is none yet, in the wrong thread.
        return cast("BatchConsumer | None", getattr(self._app, "_consumer", None))
