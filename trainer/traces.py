"""Traces of a trainer: pairs taken in up to their segments, cuts, and trainings step by step.

Nothing waits for them and nothing is decided by them; without `begin` there are none.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from schemas.rows import TrainingStep, TrainingStepName
from schemas.topics import PAIRS, Names
from schemas.traces import Begin, Trace, messaging
from trainer.datasets import DatasetManifest

STOPPED, FAILED = "trainer_stopped", "training_failed"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Training:
    """One that goes on; a step lasts until the next one. `trace` is None where not sampled."""

    trace: Trace | None
    step: TrainingStepName
    since_ns: int


@dataclass(slots=True)
class _TakenIn:
    """Since segments were closed last."""

    since_ns: int
    records: int = 0
    pairs: int = 0


class TrainerTraces:
    """Steps of trainings are told by another thread than all the rest."""

    def __init__(self, begin: Begin | None = None, names: Names | None = None) -> None:
        names = names or Names()
        self._begin = begin
        self._topic, self._group = names.topic(PAIRS), names.trainer_group
        self._taken_in: _TakenIn | None = None
        self._trainings: dict[str, _Training] = {}

    def took_in(self, records: int, new: int) -> None:
        """Records that were read, and how many new pairs were among them."""
        if self._begin is None or not records:
            return
        if self._taken_in is None:
            self._taken_in = _TakenIn(time.time_ns())
        self._taken_in.records += records
        self._taken_in.pairs += new

    def closed_segments(self, begun_ns: int) -> None:
        """Of what was taken in; closing them, dead letters first, began then."""
        taken, self._taken_in = self._taken_in, None
        if self._begin is None or taken is None:
            return
        about = messaging("process", self._topic, group=self._group, count=taken.records)
        about["pairstream.pairs"] = taken.pairs
        trace = self._begin(f"process {self._topic}", taken.since_ns, about, kind="consumer")
        if trace is not None:
            now_ns = time.time_ns()
            trace.part("close segments", begun_ns, now_ns, {})
            trace.end(now_ns, {})

    def cut(self, begun_ns: int, dataset: DatasetManifest | None) -> None:
        """None where no pair could be taken."""
        trace = self._begin("cut", begun_ns, {}) if self._begin else None
        if trace is not None:
            about: dict[str, str | int] = {"pairstream.pairs": 0}
            if dataset is not None:
                about = {
                    "pairstream.dataset": dataset.name,
                    "pairstream.pairs": dataset.pairs,
                    "pairstream.runs": dataset.runs,
                    "pairstream.pairs_skipped": sum(dataset.left_out.values()),
                }
            trace.end(time.time_ns(), about)

    def stepped(self, row: TrainingStep) -> None:
        """A step of a training was told."""
        if self._begin is None:
            return
        now_ns = (row.time - _EPOCH) // timedelta(microseconds=1) * 1000
        training = self._trainings.pop(row.training_id, None)
        if training is None:
            about = {"pairstream.training": row.training_id, "pairstream.dataset": row.dataset}
            trace = self._begin("train", now_ns, about)
        else:
            trace = training.trace
            _tell_step(training, now_ns)
        if row.step not in ("succeeded", "failed"):
            self._trainings[row.training_id] = _Training(trace, row.step, now_ns)
        elif trace is not None:
            error = FAILED if row.step == "failed" else None
            trace.end(now_ns, {"pairstream.training.outcome": row.step}, error=error)

    def close(self) -> None:
        """Trainings that have not ended go on without us, or with the next trainer."""
        now_ns = time.time_ns()
        while self._trainings:
            _, training = self._trainings.popitem()
            _tell_step(training, now_ns)
            if training.trace is not None:
                training.trace.end(now_ns, {}, error=STOPPED)


def _tell_step(training: _Training, now_ns: int) -> None:
    if training.trace is not None:
        training.trace.part(training.step, training.since_ns, now_ns, {})
