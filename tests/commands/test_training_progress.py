"""How a training's progress looks."""

import io

import pytest

from pairstream import training_progress
from pairstream.training_progress import ProgressShow, bar, progress_text
from trainer.progress import Step, TrainingProgress


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (
            TrainingProgress(Step(12, 40, 0.53125, 1.25, 0.875), 83.4),
            "step 12/40  loss 0.531  margin 1.25  accuracy 0.875  1:23 left",
        ),
        (
            TrainingProgress(Step(1, 4, None), None),
            "step 1/4  loss none  margin none  accuracy none",
        ),
        (
            TrainingProgress(Step(1, 9, 1e-6, -0.0, 1.0), 7261),
            "step 1/9  loss 1e-06  margin -0  accuracy 1  2:01:01 left",
        ),
    ],
)
def test_progress_in_words(progress: TrainingProgress, text: str) -> None:
    assert progress_text(progress) == text


@pytest.mark.parametrize(("step", "filled"), [(0, 0), (1, 6), (4, 24), (5, 24)])
def test_bar_fills(step: int, filled: int) -> None:
    assert bar(Step(step, 4, 0.5)) == "[" + "#" * filled + "-" * (24 - filled) + "]"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


STEPS = [TrainingProgress(Step(step, 3, 0.5), None) for step in (1, 2, 3)]


def test_terminal_shows_one_line_that_is_drawn_anew_and_ended() -> None:
    out = Terminal()
    with ProgressShow(out) as progress:
        for step in STEPS:
            progress.show(step)
        assert "\n" not in out.getvalue()
        progress.end_line()
        out.write("succeeded\n")

    drawn = out.getvalue()
    assert drawn.count("\r") == 3
    assert drawn.endswith("\x1b[K\nsucceeded\n")


def test_elsewhere_plain_lines_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_progress, "LINE_SECONDS", 1e9)
    out = io.StringIO()
    with ProgressShow(out) as progress:
        for step in STEPS:
            progress.show(step)

    lines = out.getvalue().splitlines()
    assert [line.partition("  ")[0] for line in lines] == ["step 1/3", "step 3/3"]
    assert "\r" not in out.getvalue()
