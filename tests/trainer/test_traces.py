"""Traces of trainings, from the steps that are told of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.rows import TrainingStep, TrainingStepName
from schemas.traces import Attributes, Kind
from tests.trainer.lives import CANCELLED, whole_life
from trainer.traces import FAILED, STOPPED, TrainerTraces

BEGUN = datetime(2026, 11, 23, 10, tzinfo=UTC)
BEGUN_NS = int(BEGUN.timestamp()) * 10**9
SECOND = 10**9


class Told:
    """One trace."""

    def __init__(self, name: str, attributes: Attributes) -> None:
        self.name = name
        self.attributes = dict(attributes)
        self.parts: list[tuple[str, int, int]] = []
        self.ended: list[tuple[int, dict[str, Any], str | None]] = []

    def part(
        self,
        name: str,
        begun_ns: int,
        ended_ns: int,
        attributes: Attributes,
        *,
        kind: Kind = "internal",
    ) -> None:
        self.parts.append((name, (begun_ns - BEGUN_NS) // SECOND, (ended_ns - BEGUN_NS) // SECOND))

    def end(self, ended_ns: int, attributes: Attributes, *, error: str | None = None) -> None:
        self.ended.append(((ended_ns - BEGUN_NS) // SECOND, dict(attributes), error))


class Traces:
    """Begins them; `sampled` says which, by their order."""

    def __init__(self, *, sampled: bool = True) -> None:
        self.sampled = sampled
        self.asked = 0
        self.begun: list[Told] = []

    def __call__(
        self, name: str, begun_ns: int, attributes: Attributes, *, kind: Kind = "internal"
    ) -> Told | None:
        self.asked += 1
        if not self.sampled:
            return None
        self.begun.append(Told(name, attributes))
        return self.begun[-1]


def tell(traces: TrainerTraces, steps: list[TrainingStepName], training: str = "dpo-ds-1") -> None:
    """One a second, each with a text that is nobody's business."""
    for second, step in enumerate(steps):
        when = BEGUN + timedelta(seconds=second)
        traces.stepped(TrainingStep(training, step, when, "ds-1", "0" * 64, "Traceback: a text"))


def test_a_training_is_a_trace_with_a_part_for_each_step() -> None:
    begin = Traces()
    tell(TrainerTraces(begin), whole_life())

    [told] = begin.begun
    steps = whole_life()[:-1]
    assert told.name == "train"
    assert told.attributes == {"pairstream.training": "dpo-ds-1", "pairstream.dataset": "ds-1"}
    assert told.parts == [(step, at, at + 1) for at, step in enumerate(steps)]
    assert told.ended == [(len(steps), {"pairstream.training.outcome": "succeeded"}, None)]


def test_one_that_failed_ends_with_an_error_and_without_its_text() -> None:
    begin = Traces()
    tell(TrainerTraces(begin), CANCELLED)

    [told] = begin.begun
    assert told.ended == [(4, {"pairstream.training.outcome": "failed"}, FAILED)]
    assert "text" not in repr(vars(told))


def test_one_that_goes_on_without_the_trainer_ends_as_stopped_and_begins_anew() -> None:
    begin = Traces()
    traces = TrainerTraces(begin)
    tell(traces, ["requested", "building", "started"])
    traces.close()
    tell(TrainerTraces(begin), whole_life())

    first, second = begin.begun
    assert [name for name, _, _ in first.parts] == ["requested", "building", "started"]
    assert [error for _, _, error in first.ended] == [STOPPED]
    assert [error for _, _, error in second.ended] == [None]


def test_one_that_waits_for_an_engine_tells_its_first_steps_again_in_one_trace() -> None:
    begin = Traces()
    tell(TrainerTraces(begin), ["requested", "building", *whole_life()])

    [told] = begin.begun
    assert [name for name, _, _ in told.parts[:4]] == 2 * ["requested", "building"]


def test_a_training_that_is_not_sampled_is_asked_for_once() -> None:
    begin = Traces(sampled=False)
    traces = TrainerTraces(begin)
    tell(traces, whole_life())
    assert begin.asked == 1

    tell(traces, ["requested"], training="dpo-ds-2")
    traces.close()
    assert begin.asked == 2


def test_segments_without_records_are_no_trace() -> None:
    begin = Traces()
    traces = TrainerTraces(begin)
    traces.took_in(0, 0)
    traces.closed_segments(0)
    assert begin.begun == []

    traces.took_in(3, 1)
    traces.took_in(2, 2)
    traces.closed_segments(0)
    traces.closed_segments(0)
    [told] = begin.begun
    assert told.attributes["messaging.batch.message_count"] == 5
    assert told.attributes["pairstream.pairs"] == 3


def test_a_cut_that_could_take_no_pair_is_told_too() -> None:
    begin = Traces()
    TrainerTraces(begin).cut(BEGUN_NS, None)

    [(_, about, error)] = begin.begun[0].ended
    assert (about, error) == ({"pairstream.pairs": 0}, None)
