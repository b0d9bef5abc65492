"""The Faust app: topics, table and agents wired to the pure core. No decisions here."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, cast

import structlog

from schemas import clients, dead_letters
from schemas.dead_letters import Origin
from schemas.errors import InvalidRecord
from schemas.memory import keep_releasing_memory
from schemas.rows import encode, parse_garble_request
from schemas.settings import WorkerSettings
from schemas.topics import (
    GARBLE_REQUESTS,
    PAIRS,
    RUN_EVENTS,
    STATE_TABLE,
    TOPICS,
    Names,
    Topic,
)
from schemas.traces import Begin
from streams.batch_traces import BatchTraces
from streams.changelog import StateReader
from streams.expiry import Clock, Expiry
from streams.faust_app import faust_app
from streams.fence import StallFence
from streams.garblers import open_garblers
from streams.letter_rate import LetterRate
from streams.partition import Effects, Partition
from streams.pipeline import Pipeline
from streams.producer import Record, RecordProducer
from streams.redaction import open_redactor
from streams.source_watch import watch_source
from streams.table import RunTable
from streams.transport import Batch, BatchSchema
from streams.vitals import Stage, WorkerVitals
from streams.work import WorkerParts

log = structlog.get_logger()

SERVICE = "pairstream-worker"


class WorkerApp:
    """One worker's parts; `failed` must end the process without committing."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        partitions: int,
        describe_source: Callable[[], bytes],
        vitals: WorkerVitals,
        failed: Callable[[str], None],
        begin_trace: Begin | None = None,
    ) -> None:
        self.settings = settings
        self.garblers = open_garblers(settings)
        # What cannot be is said now, not when the first run is settled.
        self.redactor = open_redactor(settings)
        if self.redactor is not None:
            self.redactor.warm_up()
        self.names = Names(settings.topic_prefix)
        self._row_topics = {topic: self.names.topic(topic) for topic in TOPICS}
        self.failed = failed
        self.vitals = vitals
        self.traces = BatchTraces(begin_trace, self.names)
        self._describe_source = describe_source
        self._letter_rate = {
            topic: LetterRate(settings.dead_letters_per_minute)
            for topic in (RUN_EVENTS, GARBLE_REQUESTS)
        }
        self.clock = Clock()
        self.faust = faust_app(settings, self.traces, partitions, self.garblers.batch)
        self.state_reader = StateReader(
            clients.reader(settings, group=self.names.worker_app), self.names.state_changelog
        )
        self.table = self._table(partitions)
        self.fence = StallFence(settings.session_timeout_seconds / 2, stalled=failed)
        self.producer = RecordProducer(clients.producer(settings), failed=failed)
        self.expiry = Expiry(settings, self.names, self.clock)
        self._tasks: list[asyncio.Task[None]] = []
        self._add_agents()
        group = self.names.worker_app
        vitals.work = WorkerParts(self.faust, self.table, self.producer, group=group)

    def other_loops(self) -> list[asyncio.AbstractEventLoop]:
        """That of the consumer's thread, once it runs."""
        thread = getattr(self.faust.consumer, "_thread", None)
        return [thread.thread_loop] if thread else []

    def _table(self, partitions: int) -> RunTable:
        # With a schema, or without these types, Faust's own recovery would restore nothing.
        table = RunTable(
            self.faust,
            name=STATE_TABLE,
            default=bytes,
            partitions=partitions,
            key_type=bytes,
            value_type=bytes,
        )
        settings, names = self.settings, self.names
        table.source = names.topic(RUN_EVENTS)
        reader = self.state_reader
        table.read_state = reader.state
        table.read_committed = lambda ours: reader.committed(table.source, ours)
        table.describe_source = self._describe_source
        table.new_partition = lambda: Partition.by(settings, beat=self._beat)
        table.now_ms = self.clock.now_ms
        table.failed = self.failed
        self.faust.tables.add(table)
        return table

    def _add_agents(self) -> None:
        async def settle_runs(stream: Any) -> None:
            self._start(self.fence.serve(), self.producer.serve(), self.table.watch())
            self._start(self.vitals.serve())
            self._start(self.expiry.serve(self.table, self.producer, self.fence))
            self._start(watch_source(self._describe_source, changed=self.failed))
            self._start(keep_releasing_memory())
            pipeline = self._pipeline("settling")
            async for event in stream.noack().events():
                begun_ns = time.time_ns()
                rows, state = self._settle_runs(event)
                self.traces.worked(event, begun_ns, "fold", rows, state)
                await pipeline.feed(event, rows, state)
                await asyncio.sleep(0)  # a rebalance is heard of between two batches

        async def garble(stream: Any) -> None:
            pipeline = self._pipeline("garbling")
            async for event in stream.noack().events():
                begun_ns = time.time_ns()
                rows = await self._garble(event)
                if self._owns(event):  # else whoever owns the partition now garbles it again
                    self.traces.worked(event, begun_ns, "garble", rows, [])
                    await pipeline.feed(event, rows, [])

        for topic, agent in ((RUN_EVENTS, settle_runs), (GARBLE_REQUESTS, garble)):
            source = self.faust.topic(
                self.names.topic(topic),
                schema=BatchSchema(key_type=bytes, value_type=bytes),
            )
            self.faust.agent(source, name=agent.__name__)(self._guarded_agent(agent))

    def _pipeline(self, stage: Stage) -> Pipeline:
        def acknowledged(event: Batch) -> None:
            oldest = cast("list[Any]", event.value)[0]
            self.vitals.acknowledged(stage, oldest.timestamp, now_ms=self.clock.now_ms())
            self.traces.rows_acknowledged(event)

        pipeline = Pipeline(
            self.producer,
            self.fence,
            depth=self.settings.batches_in_flight,
            owns=self._owns,
            acknowledged=acknowledged,
            written=self.traces.state_acknowledged,
        )
        self._start(pipeline.finish())
        return pipeline

    def _owns(self, event: Batch) -> bool:
        return bool(event.message.generation_id == self.faust.consumer_generation_id)

    def _beat(self) -> None:
        """The loop stands, and works: heartbeats to the group have a thread of their own."""
        self.fence.beat()
        self.vitals.at_work()

    # --- One batch -------------------------------------------------------------------------------

    def _settle_runs(self, event: Batch) -> tuple[list[Record], list[Record]]:
        """Fold a batch: its rows, and the state that may follow them."""
        number: int = event.message.tp.partition
        runs = self.table.runs[number]
        records = cast("list[Any]", event.value)
        effects = runs.apply(
            ((record.key, record.value, record.offset) for record in records),
            now_ms=self.clock.now_ms(),
        )
        rows = [Record(self._row_topics[topic], key, value) for topic, key, value in effects.rows]
        refused = [(records[place], error) for place, error in effects.refused]
        rows += self._letters(RUN_EVENTS, refused)
        writes = {**self.table.leftovers.pop(number, {}), **effects.writes}
        changelog = self.names.state_changelog
        _report(number, len(records), effects)
        self.vitals.folded(effects, newest_ms=records[-1].timestamp)
        if self.redactor is not None:
            self.vitals.redacted(self.redactor.counts)
        return rows, [Record(changelog, key, value, number) for key, value in writes.items()]

    async def _garble(self, event: Batch) -> list[Record]:
        keys, requests, refused = [], [], []
        for record in cast("list[Any]", event.value):
            try:
                requests.append(parse_garble_request(record.value))
            except InvalidRecord as error:
                refused.append((record, error))
            else:
                keys.append(record.key)
        pairs = await self.garblers.pairs(requests)
        self.vitals.wrote_pairs(pairs)
        topic = self.names.topic(PAIRS)
        rows = [Record(topic, key, encode(pair)) for key, pair in zip(keys, pairs, strict=True)]
        return rows + self._letters(GARBLE_REQUESTS, refused)

    def _letters(self, topic: Topic, refused: Sequence[tuple[Any, InvalidRecord]]) -> list[Record]:
        self.vitals.refused(topic, [error for _, error in refused])
        if self._letter_rate[topic].exceeds(len(refused), now=time.monotonic()):
            record, error = refused[-1]
            self.failed(
                f"more than {self.settings.dead_letters_per_minute} dead letters within a minute, "
                f"the last at {record.topic}/{record.partition}/{record.offset} ({error.reason}: "
                f"{error.detail}): mend what sends them; to let them pass, raise "
                "PAIRSTREAM_DEAD_LETTERS_PER_MINUTE"
            )
        return [self._letter(topic, record, error) for record, error in refused]

    def _letter(self, topic: Topic, record: Any, error: InvalidRecord) -> Record:
        key, value, headers = dead_letters.letter(
            Origin(record.topic, record.partition, record.offset),
            error,
            service=SERVICE,
            key=record.key,
            value=record.value,
            original=record.headers,
        )
        return Record(self.names.dead_letters(topic), key, value, headers=headers)

    # --- Guards ----------------------------------------------------------------------------------

    def _start(self, *work: Coroutine[Any, Any, None]) -> None:
        """Run until the process ends: Faust must not cancel what finishes batches on a stop."""
        self._tasks += [asyncio.create_task(self._guarded(coroutine)) for coroutine in work]

    def _guarded_agent(
        self, agent: Callable[[Any], Coroutine[Any, Any, None]]
    ) -> Callable[[Any], Awaitable[None]]:
        async def guarded(stream: Any) -> None:
            await self._guarded(agent(stream))

        return guarded

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """The one broad except: Faust would acknowledge what an agent failed on (FS#315)."""
        try:
            await work
        except Exception as error:
            log.exception("worker_failed")
            self.failed(f"a defect in pairstream, please report it: {error!r}")


def _report(partition: int, records: int, effects: Effects) -> None:
    log.debug(
        "batch_folded",
        partition=partition,
        records=records,
        rows=len(effects.rows),
        settled=len(effects.settlements),
        refused=len(effects.refused),
        unknown_types=effects.skipped,
        ignored=effects.ignored,
    )
    for _, error in effects.refused:
        log.warning("record_refused", partition=partition, reason=error.reason, why=error.detail)
