"""A trace for each batch: folded or garbled, its rows and its state acknowledged, committed.

Nothing waits for it and nothing is decided by it; without `begin` there is none.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from faust.types import TP

from schemas.topics import (
    GARBLE_REQUESTS,
    PAIRS,
    RUN_EVENTS,
    RUN_OUTCOMES,
    SCORED_ROWS,
    Names,
)
from schemas.traces import Begin, Trace, messaging
from streams.producer import Record
from streams.transport import Batch

REVOKED = "partition_revoked"


@dataclass(slots=True)
class _Open:
    """A batch that is not committed; `since_ns`: when the newest of its parts was done."""

    trace: Trace
    state: int
    rows: int
    since_ns: int


class BatchTraces:
    """Told of each batch by those who work on it, in one thread, however far apart they are."""

    def __init__(self, begin: Begin | None, names: Names) -> None:
        self._begin = begin
        self._group = names.worker_app
        self._changelog = names.state_changelog
        self._counted = {
            names.topic(PAIRS): "pairstream.pairs",
            names.topic(SCORED_ROWS): "pairstream.scored_rows",
            names.topic(GARBLE_REQUESTS): "pairstream.garble_requests",
            names.topic(RUN_OUTCOMES): "pairstream.runs_settled",
            names.dead_letters(RUN_EVENTS): "pairstream.dead_letters",
            names.dead_letters(GARBLE_REQUESTS): "pairstream.dead_letters",
        }
        self._open: dict[tuple[TP, int], _Open] = {}
        self._generation: int | None = None

    def worked(
        self,
        event: Batch,
        begun_ns: int,
        work: Literal["fold", "garble"],
        rows: Sequence[Record],
        state: Sequence[Record],
    ) -> None:
        """The batch's rows and its state are known; neither has been sent."""
        if self._begin is None:
            return
        message, now_ns = event.message, time.time_ns()
        if message.generation_id != self._generation:
            self._give_up(now_ns)
            self._generation = message.generation_id
        records = cast("list[Any]", event.value)
        about = messaging(
            "process", message.topic, partition=str(message.partition), group=self._group,
            count=len(records),
        )  # fmt: skip
        about |= {
            "pairstream.offset.first": records[0].offset,
            "pairstream.offset.last": message.offset,
        }
        trace = self._begin(f"process {message.topic}", begun_ns, about, kind="consumer")
        if trace is not None:
            found = Counter(self._counted[row.topic] for row in rows)
            trace.part(work, begun_ns, now_ns, found)
            self._open[_place(event)] = _Open(trace, len(state), len(rows), now_ns)

    def rows_acknowledged(self, event: Batch) -> None:
        batch = self._open.get(_place(event))
        if batch is not None:
            now_ns = time.time_ns()
            about = messaging("send", count=batch.rows)
            batch.trace.part("send rows", batch.since_ns, now_ns, about, kind="producer")
            batch.since_ns = now_ns

    def state_acknowledged(self, event: Batch) -> None:
        """Also where the batch has asked for none."""
        batch = self._open.get(_place(event))
        if batch is not None and batch.state:
            now_ns = time.time_ns()
            about = messaging("send", self._changelog, count=batch.state)
            batch.trace.part(
                f"send {self._changelog}", batch.since_ns, now_ns, about, kind="producer"
            )
            batch.since_ns = now_ns

    def committed(self, offsets: Mapping[TP, int], begun_ns: int) -> None:
        """Every batch before these offsets, by partition, is done."""
        now_ns = time.time_ns()
        for tp, last in [each for each in self._open if each[1] < offsets.get(each[0], 0)]:
            batch = self._open.pop((tp, last))
            about = messaging(
                "commit", tp.topic, partition=str(tp.partition), group=self._group,
                offset=offsets[tp],
            )  # fmt: skip
            batch.trace.part(f"commit {tp.topic}", begun_ns, now_ns, about, kind="client")
            batch.trace.end(now_ns, {})

    def _give_up(self, now_ns: int) -> None:
        """Of an earlier generation: whoever has the partition now does it again."""
        for batch in self._open.values():
            batch.trace.end(now_ns, {}, error=REVOKED)
        self._open.clear()


def _place(event: Batch) -> tuple[TP, int]:
    message: Any = event.message
    return message.tp, message.offset
