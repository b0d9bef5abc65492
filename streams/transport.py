"""Faust's aiokafka transport, delivering micro-batches and committing only what is done.

Faust 0.15.3 hands over one record at a time, commits past work in flight (FS#606), and forgets on
a rebalance what was done since its last commit (FS#502). Here one Faust message holds up to
`batch_records` records of one partition, and the watermark of finished batches is what is
committed. Group membership, assignment, heartbeats and commits stay Faust's.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, cast

import faust
import structlog
from aiokafka.errors import IllegalStateError, KafkaConnectionError
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, ConsumerMessage, EventT, Message
from yarl import URL

from schemas.crash_points import crash_point
from streams import aiokafka_cures

# By a name of its own: what Faust logs as this module is silenced (pairstream/logs.py).
log = structlog.get_logger("pairstream.transport")

aiokafka_cures.install()

CONNECT_SECONDS = 1.0
# How long to wait for records while a partition's buffer is full.
FULL_SECONDS = 0.005

DEFAULT_BATCH_RECORDS = 2000

# A Faust event whose value is a list of aiokafka records of one partition.
Batch = EventT[Any]


class _PatientThread(driver.AIOKafkaConsumerThread):
    async def on_start(self) -> None:
        """Wait for brokers that were there a moment ago; Faust's would end the worker."""
        while True:
            try:
                await super().on_start()
                return
            except KafkaConnectionError as error:
                log.warning("brokers_unreachable", why=str(error))
                await cast("Any", self._consumer).stop()
            if self.should_stop:
                return
            await asyncio.sleep(CONNECT_SECONDS)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Before anything is fetched: `streams.changelog` reads the changelog, and what aiokafka
        fetched of it would stay in its buffers, megabytes for each partition.
        """
        consumer = cast("Any", self._consumer)
        changelogs = self.app.tables.changelog_topics
        consumer.pause(*(tp for tp in consumer.assignment() if tp.topic in changelogs))
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_thread_stop(self) -> None:
        """Also where aiokafka breaks off: it awaits a fetch that it has just cancelled."""
        try:
            await super().on_thread_stop()
        except asyncio.CancelledError:
            await cast("Any", self._consumer)._client.close()


class BatchConsumer(driver.Consumer):
    """Delivers batches; acknowledging one acknowledges its last offset and all before it."""

    batch_records: ClassVar[int] = DEFAULT_BATCH_RECORDS
    # Topics whose batches may take minutes, and how many records one of these holds. A rebalance
    # and a stop do not wait for them: what was not acknowledged comes again.
    slow: ClassVar[Mapping[str, int]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Last offsets of the batches that were handed over and not committed yet, oldest first.
        self._handed_over: defaultdict[TP, deque[int]] = defaultdict(deque)
        # False from the begin of a rebalance until every position is where it was committed.
        self._is_positioned = False
        self._rebalances = 0
        # Where a gap was seen, and the position was moved back to look again.
        self._doubted: dict[TP, int] = {}
        self._has_room = asyncio.Event()
        # When records were last looked for, whether there were any or not.
        self.polled_at: float | None = None

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _PatientThread(self, loop=self.loop, beacon=self.beacon)

    def _new_offset(self, tp: TP) -> int | None:
        """The offset to commit: behind the newest batch before which all are acknowledged."""
        acked = self._acked_index[tp]
        handed_over = self._handed_over[tp]
        watermark = None
        while handed_over and handed_over[0] in acked:
            last = handed_over.popleft()
            acked.discard(last)
            watermark = last + 1
        self._acked[tp].clear()
        return watermark

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Any:
        return [
            tp
            for tp in list(self._handed_over)
            if topics is None or tp in topics or tp.topic in topics
        ]

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish and commit what is in flight before forgetting it; Faust does the reverse."""
        if revoked:
            crash_point("worker.revoked")
        self._is_positioned = False
        self._rebalances += 1
        if self._active_partitions is not None:
            self._active_partitions.difference_update(revoked)
        self._paused_partitions.difference_update(revoked)
        await self._on_partitions_revoked(revoked)
        self._forget(revoked)

    async def perform_seek(self) -> None:
        """Go back to what is committed, also where nothing is.

        A fetch that was under way when the rebalance began may have taken records that nobody was
        given. aiokafka moves back only partitions with a commit, so the others would lose them.

        An answer that comes after the next rebalance has begun tells nothing of the partitions
        which that gives us: they are not taken for ones without a commit.
        """
        begun = self._rebalances
        await super().perform_seek()
        if self._rebalances != begun:
            return
        for tp in self.assignment():
            if not self._committed_offset[tp] and not self._is_changelog_tp(tp):
                await self._seek(tp, 0)
        self._forget(set(self._handed_over), keep_position=True)
        self._doubted.clear()
        self._is_positioned = True

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        crash_point("worker.before_commit")
        begun_ns = time.time_ns()
        is_done: bool = await super()._commit(offsets)
        crash_point("worker.committed")
        if is_done:
            self.committed(offsets, begun_ns)
        return is_done

    def committed(self, offsets: Mapping[TP, int], begun_ns: int) -> None:
        """Here nobody is told."""

    def _forget(self, partitions: set[TP], *, keep_position: bool = False) -> None:
        for tp in partitions:
            self._handed_over.pop(tp, None)
            self._acked.pop(tp, None)
            self._acked_index.pop(tp, None)
            if not keep_position:
                self._read_offset.pop(tp, None)
                self._committed_offset.pop(tp, None)

    def progress(self) -> list[tuple[TP, int | None, int | None]]:
        """What is committed of each partition that is ours, and its end as the last fetch told it;
        None where it is not known. May be asked from any thread.
        """
        found: list[tuple[TP, int | None, int | None]] = []
        # Before the start there is none, and a rebalance may take one while this asks.
        with suppress(ConsumerNotStarted, IllegalStateError):
            for tp in list(self.assignment()):
                if not self._is_changelog_tp(tp):
                    found.append((tp, self._committed_offset.get(tp), self.highwater(tp)))
        return found

    def on_buffer_drop(self, tp: TP) -> None:
        super().on_buffer_drop(tp)
        self._has_room.set()

    async def _wait_next_records(
        self,
        timeout: float,  # noqa: ASYNC109 - Faust's signature
    ) -> tuple[Any, set[TP] | None]:
        """Where all buffers are full, wait for room in one of them; Faust sleeps for a second."""
        if self._buffered_partitions and not self._get_active_partitions():
            self._has_room.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._has_room.wait(), timeout)
            return None, set()
        if self._buffered_partitions:
            # These are left out until it returns, though they have room in a moment; and as long as
            # a record of theirs waits in aiokafka, it fetches nothing from their broker for 100 ms.
            timeout = min(timeout, FULL_SECONDS)
        records: tuple[Any, set[TP] | None] = await super()._wait_next_records(timeout)
        return records

    async def _drain_messages(self, fetcher: Any) -> None:
        # On a stop neither is news; during a rebalance Faust calls a cancelled fetcher crashed.
        stopped = cast("tuple[type[Exception], ...]", self.consumer_stopped_errors)
        ended: tuple[type[BaseException], ...] = (asyncio.CancelledError, *stopped)
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                self.polled_at = time.monotonic()
                records, active = await self._wait_next_records(1.0)
                generation = self.app.consumer_generation_id
                await self.sleep(0)
                for tp, fetched in (records or {}).items():
                    if active is not None and tp not in active | self._buffered_partitions:
                        continue
                    if not await self._hand_over(tp, fetched, generation):
                        break
        except ended:
            if not self.transport.app.should_stop:
                raise

    async def _hand_over(self, tp: TP, fetched: Sequence[Any], generation: int) -> bool:
        """Deliver one partition's records in parts; False when a rebalance has begun."""
        if not self._is_current(generation):
            return False
        read = self._read_offset[tp] or 0
        if fetched[0].offset < read:
            fetched = [record for record in fetched if record.offset >= read]
        if fetched and await self._is_doubtful(tp, read, fetched[0].offset):
            return True
        size = self.slow.get(tp.topic, self.batch_records)
        for start in range(0, len(fetched), size):
            if not self._is_current(generation):
                return False
            part = list(fetched[start : start + size])
            self._handed_over[tp].append(part[-1].offset)
            message = _batch_message(tp, part, generation)
            # Faust waits for those that it has begun to track, which it does where none is.
            message.tracked = tp.topic in self.slow
            await self.callback(message)
            # A stale delivery must not move the position: its records come again.
            if not self._is_current(generation):
                return False
            self._read_offset[tp] = part[-1].offset + 1
        return True

    async def _is_doubtful(self, tp: TP, read: int, found: int) -> bool:
        """Whether records may be missing between what was read and what was found.

        A fetch that spans a rebalance can come from behind the position that was just moved back,
        or take records from it that nobody is given. So a gap is believed only when it is still
        there after going back: then it is a hole in the log (retention, marks of transactions).
        """
        if found == read or self._doubted.get(tp) == read:
            return False
        self._doubted[tp] = read
        await self._seek(tp, read)
        return True

    def _is_current(self, generation: int) -> bool:
        return (
            self._is_positioned
            and bool(self.flow_active)
            and self.app.consumer_generation_id == generation
        )


def _batch_message(tp: TP, part: list[Any], generation: int) -> ConsumerMessage:
    last = part[-1]
    return ConsumerMessage(
        topic=last.topic,
        partition=last.partition,
        offset=last.offset,
        timestamp=last.timestamp / 1000.0,
        timestamp_type=0,
        headers=None,
        key=None,
        value=cast("bytes", part),  # what BatchSchema hands on and nothing else reads
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        tp=tp,
        generation_id=generation,
    )


class BatchSchema(faust.Schema[Any, Any]):
    """Hands the records over as they are: bytes are judged by our decoder alone."""

    def compile(self, app: AppT, **_: Any) -> Callable[..., Awaitable[Batch]]:
        async def decode(message: Message, **_: Any) -> Batch:
            return app.create_event(None, message.value, message.headers, message)

        return decode


def batching_transport(
    urls: list[URL],
    app: AppT,
    *,
    batch_records: int,
    slow: Mapping[str, int],
    committed: Callable[[Mapping[TP, int], int], None],
) -> driver.Transport:
    """A transport for `app.transport` that delivers batches of at most `batch_records`.

    `slow`: topics whose batches may take minutes, each with another size. `committed` is told the
    offsets of each commit, and when it began in ns since 1970.
    """

    class Consumer(BatchConsumer):
        def committed(self, offsets: Mapping[TP, int], begun_ns: int) -> None:
            committed(offsets, begun_ns)

    class Transport(driver.Transport):
        pass

    Consumer.batch_records = batch_records
    Consumer.slow = slow
    Transport.Consumer = Consumer
    return Transport(urls, app)
