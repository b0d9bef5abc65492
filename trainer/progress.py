"""How far a training is, read from the metrics that its script writes as it goes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from schemas.json_errors import JSON_ERRORS
from trainer.layout import open_to_read

TAIL_BYTES = 16 * 1024  # holds some lines of metrics

# What can be reckoned with as a float.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Step(msgspec.Struct, frozen=True):
    """One line of the metrics, where it is one of a step: those of evaluations have no loss."""

    step: Count
    steps: Count
    loss: float | None
    margin: float | None = msgspec.field(name="rewards/margins", default=None)
    accuracy: float | None = msgspec.field(name="rewards/accuracies", default=None)


@dataclass(frozen=True)
class TrainingProgress:
    """The newest step, and how long the rest takes at the pace seen so far."""

    newest: Step
    seconds_left: float | None


OnProgress = Callable[[TrainingProgress], None]


class ProgressWatch:
    """Looks again and again; the pace is that since its first look."""

    def __init__(self, metrics: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._first: tuple[int, float] | None = None
        self._newest: Step | None = None

    def look(self) -> TrainingProgress | None:
        """None where there is no step that was not there before."""
        newest = last_step(self._metrics)
        if newest is None or newest == self._newest:
            return None
        self._newest = newest
        now = self._clock()
        if self._first is None or newest.step < self._first[0]:
            self._first = newest.step, now
        return TrainingProgress(newest, seconds_left(self._first, newest, now))


def seconds_left(first: tuple[int, float], newest: Step, now: float) -> float | None:
    step, then = first
    if newest.step == step:
        return None
    return (newest.steps - newest.step) * (now - then) / (newest.step - step)


def last_step(metrics: Path) -> Step | None:
    """The last whole line of a step; a line may be half written, and the file be rewritten.

    What is no file, or a link, counts as not there: the folder is the training's.
    """
    try:
        with open_to_read(metrics) as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            whole = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return None
    return next((step for line in reversed(whole) if (step := _step(line)) is not None), None)


def _step(line: bytes) -> Step | None:
    try:
        return msgspec.json.decode(line, type=Step)
    except JSON_ERRORS:
        return None


def progress_line(progress: TrainingProgress) -> str:
    """For people, where a step of the life of a training tells it."""
    newest = progress.newest
    loss = "" if newest.loss is None else f", loss {newest.loss:.3g}"
    return f"step {newest.step} of {newest.steps}{loss}"


def seldom(
    tell: OnProgress,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    *,
    always_last: bool = True,
) -> OnProgress:
    """Tell the first step, and then at most one in so many seconds; the last one too, if wanted."""
    last: float | None = None

    def told(progress: TrainingProgress) -> None:
        nonlocal last
        now = clock()
        is_last = always_last and progress.newest.step >= progress.newest.steps
        if last is None or is_last or now - last >= seconds:
            last = now
            tell(progress)

    return told
