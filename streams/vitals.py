"""What a worker tells of itself: its metrics, whether it is live, whether it is ready."""

import asyncio
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, Protocol, get_args

from prometheus_client import Counter, Gauge, Histogram

from schemas.errors import InvalidRecord
from schemas.events import INVALID_EVENT, Event
from schemas.metrics import HUNG_SECONDS, Lag, new_registry, rejected_counter
from schemas.rows import INVALID_ROW, DiscardReason, Pair, PairRule
from schemas.settings import WorkerSettings
from schemas.topics import GARBLE_REQUESTS, RUN_EVENTS, Names, Topic
from streams.partition import RUN_SETTLED, Effects, Partition
from streams.redaction import countable
from streams.runs import (
    CONFLICTING_ATTEMPT,
    CONFLICTING_SCORE,
    CONFLICTING_START,
    CONFLICTING_STRATEGY,
)

# Beats come every half second; one that is so late means a loop that waits for something.
STUCK_SECONDS = 60.0
BEAT_SECONDS = 0.5

Stage = Literal["settling", "garbling"]

LATENCY_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

_EVENT_REASONS = (
    INVALID_EVENT, CONFLICTING_ATTEMPT, CONFLICTING_SCORE, CONFLICTING_START,
    CONFLICTING_STRATEGY, RUN_SETTLED,
)  # fmt: skip

UNKNOWN_TYPE = "unknown"


class Work(Protocol):
    """What is looked at when somebody asks; every method may be called from another thread."""

    def runs(self) -> list[Partition] | None:
        """Of the partitions that are ours; None while they are taken over, or not assigned yet."""

    def lag(self) -> Iterator[Lag]: ...

    def polled_at(self) -> float | None:
        """When the consumer last looked for records, on the steady clock."""

    def reaches_brokers(self) -> bool: ...


class WorkerVitals:
    """Counts what the worker does; `work` is there once the worker is."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.work: Work | None = None
        self._names = Names(settings.topic_prefix)
        self._beat = time.monotonic()
        self._worked = float("-inf")
        self.registry = registry = new_registry("worker", self._lag)
        self._consumed = Counter(
            "pairstream_events_consumed", "Events folded, by type.", ["type"], registry=registry
        )
        self._rejected = rejected_counter(
            registry,
            [
                *((self._names.topic(RUN_EVENTS), reason) for reason in _EVENT_REASONS),
                (self._names.topic(GARBLE_REQUESTS), INVALID_ROW),
            ],
        )
        self._closed = Counter(
            "pairstream_runs_closed", "Runs settled: `paired`, or why they were discarded.",
            ["outcome"], registry=registry,
        )  # fmt: skip
        self._pairs = Counter(
            "pairstream_pairs_emitted", "Pairs written, by rule.", ["kind"], registry=registry
        )
        self._redactions = Counter(
            "pairstream_redactions",
            "Taken out of texts, by pattern; `by_program`: texts that the program changed.",
            ["pattern"], registry=registry,
        )  # fmt: skip
        self._redacted: Counts[str] = Counts()
        self._latency = Histogram(
            "pairstream_end_to_end_latency_seconds",
            "From the oldest record of a batch, by the broker's clock, to the acknowledgement of "
            "its rows.",
            ["stage"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._last_event = Gauge(
            "pairstream_last_event_timestamp_seconds",
            "The broker's time of the newest event that was folded; 0 before the first.",
            registry=registry,
        )
        for counter, labels in (
            (self._consumed, [event_type(kind) for kind in get_args(Event)] + [UNKNOWN_TYPE]),
            (self._closed, ["paired", *get_args(DiscardReason)]),
            (self._pairs, get_args(PairRule)),
            (self._redactions, countable(settings)),
            (self._latency, get_args(Stage)),
        ):
            for label in labels:
                counter.labels(label)
        self._add_gauges(settings)

    def _add_gauges(self, settings: WorkerSettings) -> None:
        self._add_sum("runs_open", "Runs that are not settled.", lambda runs: len(runs.open))
        self._add_sum("open_runs_bytes", "Size of the open runs.", lambda runs: runs.size)
        self._add_sum("runs_remembered", "Settled runs that are known.", lambda r: len(r.settled))
        bound = Gauge(
            "pairstream_open_runs_bytes_limit",
            "Size of the open runs beyond which the longest silent ones are settled.",
            registry=self.registry,
        )
        bound.set(settings.open_runs_max_bytes)
        polled = Gauge(
            "pairstream_worker_last_poll_timestamp_seconds",
            "When the consumer last looked for records; 0 before the first time.",
            registry=self.registry,
        )
        polled.set_function(self._polled_timestamp)

    def _add_sum(self, name: str, about: str, read: Callable[[Partition], int]) -> None:
        """Over the partitions that are ours."""
        gauge = Gauge(f"pairstream_{name}", about, registry=self.registry)
        gauge.set_function(lambda: sum(map(read, self._runs() or ())))

    # --- The worker tells ------------------------------------------------------------------------

    async def serve(self) -> None:
        """Note that the main loop turns, for as long as it does."""
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)

    def at_work(self) -> None:
        """The main loop does not turn, nor looks for records, since it works on some."""
        self._beat = self._worked = time.monotonic()

    def folded(self, effects: Effects, *, newest_ms: int) -> None:
        for kind, count in effects.kinds.items():
            self._consumed.labels(event_type(kind)).inc(count)
        if effects.skipped:
            self._consumed.labels(UNKNOWN_TYPE).inc(effects.skipped)
        # Counted first: to find a metric by its label costs more than most of a run's folding.
        settlements = effects.settlements
        for outcome, count in Counts(s.outcome.reason or "paired" for s in settlements).items():
            self._closed.labels(outcome).inc(count)
        self.wrote_pairs(pair for settlement in settlements for pair in settlement.pairs)
        self._last_event.set(newest_ms / 1000)

    def wrote_pairs(self, pairs: Iterable[Pair]) -> None:
        for rule, count in Counts(pair.rule for pair in pairs).items():
            self._pairs.labels(rule).inc(count)

    def redacted(self, counts: Mapping[str, int]) -> None:
        """Of a redactor, all that it has counted so far."""
        new = Counts(counts) - self._redacted
        for kind, count in new.items():
            self._redactions.labels(kind).inc(count)
        self._redacted += new

    def refused(self, topic: Topic, errors: Iterable[InvalidRecord]) -> None:
        for error in errors:
            self._rejected.labels(self._names.topic(topic), error.reason).inc()

    def acknowledged(self, stage: Stage, oldest_ms: int, *, now_ms: int) -> None:
        """The rows of a batch; two clocks may differ, so never below 0."""
        self._latency.labels(stage).observe(max(0, now_ms - oldest_ms) / 1000)

    # --- Somebody asks ---------------------------------------------------------------------------

    def not_live(self) -> str | None:
        """Brokers that are away are no reason: a worker waits for them."""
        now = time.monotonic()
        if self.work is not None and now - self._beat > STUCK_SECONDS:
            return f"the main loop has not turned for {now - self._beat:.0f} s"
        polled = self.work.polled_at() if self.work else None
        if polled is not None and (idle := now - max(polled, self._worked)) > HUNG_SECONDS:
            return f"no records were looked for in {idle:.0f} s"
        return None

    def not_ready(self) -> str | None:
        """A worker without partitions of its own stands by, and is ready for them."""
        if self.work is None:
            return "it is starting"
        if self._runs() is None:
            return "its partitions are not assigned, or their state is being read"
        if not self.work.reaches_brokers():
            return "no broker answers"
        return self.not_live()

    def _runs(self) -> list[Partition] | None:
        return self.work.runs() if self.work else None

    def _lag(self) -> Iterable[Lag]:
        return self.work.lag() if self.work else ()

    def _polled_timestamp(self) -> float:
        polled = self.work.polled_at() if self.work else None
        return 0.0 if polled is None else time.time() - (time.monotonic() - polled)


def event_type(kind: type[Event]) -> str:
    """As it stands in `type`."""
    return str(kind.__struct_config__.tag)
