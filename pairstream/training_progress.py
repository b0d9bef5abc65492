"""How far a training is: a bar on a terminal, lines now and then elsewhere."""

from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from trainer.progress import Step, TrainingProgress, seldom

LINE_SECONDS = 5.0
BAR_WIDTH = 24


def progress_text(progress: TrainingProgress) -> str:
    step = progress.newest
    parts = [
        f"step {step.step}/{step.steps}",
        f"loss {_number(step.loss)}",
        f"margin {_number(step.margin)}",
        f"accuracy {_number(step.accuracy)}",
    ]
    if progress.seconds_left is not None:
        parts.append(f"{_time(progress.seconds_left)} left")
    return "  ".join(parts)


def bar(step: Step) -> str:
    filled = BAR_WIDTH * min(step.step, step.steps) // max(step.steps, 1)
    return "[" + "#" * filled + "-" * (BAR_WIDTH - filled) + "]"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressShow:
    """Give `show` to what tells the progress; leaving ends the bar's line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._bar = out.isatty()
        self._drawn = False
        self.show: Callable[[TrainingProgress], None] = (
            self._draw if self._bar else seldom(self._line, LINE_SECONDS)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end_line()

    def end_line(self) -> None:
        """Before anything else is written."""
        if self._drawn:
            self._out.write("\n")
            self._out.flush()
            self._drawn = False

    def _draw(self, progress: TrainingProgress) -> None:
        # Back to the line's start, and clear what is longer of the last one.
        self._out.write(f"\r{bar(progress.newest)} {progress_text(progress)}\x1b[K")
        self._out.flush()
        self._drawn = True

    def _line(self, progress: TrainingProgress) -> None:
        self._out.write(progress_text(progress) + "\n")
        self._out.flush()
