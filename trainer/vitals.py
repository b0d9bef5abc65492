"""What a trainer tells of itself: its metrics, whether it is live, whether it is ready."""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from schemas.dead_letters import Header, Origin
from schemas.errors import InvalidRecord
from schemas.metrics import HUNG_SECONDS, Lag, new_registry, rejected_counter
from schemas.rows import INVALID_ROW, TrainingStep, TrainingStepName
from schemas.settings import TrainerSettings
from schemas.topics import PAIRS, Names
from trainer.consumer import PairsConsumer
from trainer.datasets import DatasetManifest
from trainer.disk import disk_of
from trainer.intake import Intake, Refuse
from trainer.outbox import Outbox
from trainer.selection import Reason

MINUTE = 60.0
DURATION_BUCKETS = tuple(
    minutes * MINUTE for minutes in (1, 5, 15, 30, 60, 120, 240, 480, 960, 1440)
)


class TrainerVitals:
    """Counts what the trainer does. The lag and the counts of pairs are those of its last turn."""

    def __init__(self, settings: TrainerSettings) -> None:
        names = Names(settings.topic_prefix)
        self._topic, self._group = names.topic(PAIRS), names.trainer_group
        self._turned_at: float | None = None
        self._lag: list[Lag] = []
        self._has_heard_of_all = False
        self._reaches_brokers: Callable[[], bool] = lambda: False
        self._started: dict[str, datetime] = {}
        self.registry = new_registry("trainer", lambda: self._lag)
        self._rejected = rejected_counter(self.registry, [(self._topic, INVALID_ROW)])
        self._add_intake(settings)
        self._add_trainings()
        self._add_disk(settings.data_dir)

    def _add_intake(self, settings: TrainerSettings) -> None:
        registry = self.registry
        self._taken_in = Counter(
            "pairstream_rows_batched", "New pairs taken in for a dataset.", registry=registry
        )
        self._skipped = Counter(
            "pairstream_pairs_skipped", "Pairs that a cut left out, by reason.",
            ["reason"], registry=registry,
        )  # fmt: skip
        for reason in get_args(Reason):
            self._skipped.labels(reason)
        self._new_pairs = Gauge(
            "pairstream_new_pairs", "Pairs that no cut has looked at yet.", registry=registry
        )
        self._batch_age = Gauge(
            "pairstream_batch_age_seconds",
            "Since when, in this process, pairs wait for the next dataset; 0 where none do.",
            registry=registry,
        )
        self._batch_begun: float | None = None
        self._batch_age.set_function(self._age)
        wanted = Gauge(
            "pairstream_trigger_pairs", "New pairs that make a dataset.", registry=registry
        )
        wanted.set(settings.trigger_pairs)
        self._datasets = Counter(
            "pairstream_datasets", "Datasets that were published.", registry=registry
        )
        polled = Gauge(
            "pairstream_trainer_last_poll_timestamp_seconds",
            "When the trainer last looked for pairs; 0 before the first time.",
            registry=registry,
        )
        polled.set_function(self._polled_timestamp)

    def _add_trainings(self) -> None:
        self._trainings = Counter(
            "pairstream_training_runs", "Steps of trainings, as their topic tells them.",
            ["status"], registry=self.registry,
        )  # fmt: skip
        for step in get_args(TrainingStepName):
            self._trainings.labels(step)
        self._duration = Histogram(
            "pairstream_training_duration_seconds",
            "From the start of a training to its end, where both were in this process's life.",
            buckets=DURATION_BUCKETS,
            registry=self.registry,
        )

    def _add_disk(self, data_dir: Path) -> None:
        free = Gauge(
            "pairstream_data_dir_free_bytes", "Room that is left for the data directory.",
            registry=self.registry,
        )  # fmt: skip
        size = Gauge(
            "pairstream_data_dir_size_bytes", "Size of the file system that it is on.",
            registry=self.registry,
        )  # fmt: skip
        free.set_function(lambda: float(disk_of(data_dir).free))
        size.set_function(lambda: float(disk_of(data_dir).total))

    # --- The trainer tells -----------------------------------------------------------------------

    def begin(self, outbox: Outbox) -> None:
        """The trainer begins to read."""
        self._reaches_brokers = outbox.reaches_brokers

    def turned(self, consumer: PairsConsumer, intake: Intake) -> None:
        """One turn of the trainer's loop is done."""
        self._turned_at = time.monotonic()
        self._has_heard_of_all = consumer.has_heard_of_all
        positions = intake.positions
        self._lag = [
            Lag(self._topic, partition, self._group, max(0, end - positions[partition]))
            for partition, end in consumer.known_ends().items()
        ]
        new_pairs = intake.new_pairs
        self._new_pairs.set(new_pairs)
        if not new_pairs:
            self._batch_begun = None
        elif self._batch_begun is None:
            self._batch_begun = self._turned_at

    def took_in(self, pairs: int) -> None:
        self._taken_in.inc(pairs)

    def cut(self, dataset: DatasetManifest | None) -> None:
        self._batch_begun = None
        if dataset is not None:
            self._datasets.inc()
            self.left_out(dataset.left_out)

    def left_out(self, reasons: Mapping[Reason, int]) -> None:
        for reason, pairs in reasons.items():
            self._skipped.labels(reason).inc(pairs)

    def refusing(self, refuse: Refuse) -> Refuse:
        """The same, counted."""

        def counted(
            key: bytes | None,
            value: bytes | None,
            headers: Iterable[Header],
            origin: Origin,
            error: InvalidRecord,
        ) -> None:
            self._rejected.labels(self._topic, error.reason).inc()
            refuse(key, value, headers, origin, error)

        return counted

    def stepped(self, row: TrainingStep) -> None:
        """A step of a training was told, by whichever thread."""
        self._trainings.labels(row.step).inc()
        if row.step == "started":
            self._started[row.training_id] = row.time
        elif row.step in ("succeeded", "failed"):
            started = self._started.pop(row.training_id, None)
            if started is not None:
                self._duration.observe((row.time - started).total_seconds())

    # --- Somebody asks ---------------------------------------------------------------------------

    def not_live(self) -> str | None:
        """Before its first turn it may be reading what stands on its disk, for minutes."""
        if self._turned_at is not None:
            silent = time.monotonic() - self._turned_at
            if silent > HUNG_SECONDS:
                return f"its loop has not turned for {silent:.0f} s"
        return None

    def not_ready(self) -> str | None:
        if self._turned_at is None:
            return "it is starting"
        if not self._has_heard_of_all:
            return "not every partition of the pairs has answered"
        if not self._reaches_brokers():
            return "no broker answers"
        return self.not_live()

    def _polled_timestamp(self) -> float:
        if self._turned_at is None:
            return 0.0
        return time.time() - (time.monotonic() - self._turned_at)

    def _age(self) -> float:
        return 0.0 if self._batch_begun is None else time.monotonic() - self._batch_begun
