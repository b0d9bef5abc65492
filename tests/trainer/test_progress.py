"""The progress of a training, read from metrics that are being written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainer.bench import Bench
from tests.trainer.left_in_place import LEFT_IN_PLACE
from trainer.process_launcher import ProcessLauncher
from trainer.progress import (
    ProgressWatch,
    Step,
    TrainingProgress,
    last_step,
    progress_line,
    seldom,
)
from trainer.training import run_training


def line(step: int, loss: float | None = 0.5) -> bytes:
    values = {"step": step, "steps": 10, "loss": loss, "grad_norm": 1.0, "rewards/margins": 0.25,
              "rewards/accuracies": 0.75, "epoch": 0.1}  # fmt: skip
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


@pytest.mark.parametrize(
    ("content", "step"),
    [
        (b"", None),
        (line(1)[:-1], None),
        (line(1), 1),
        (line(1) + line(2), 2),
        (line(1) + line(2)[:-3], 1),
        (line(3) + b'{"step":3,"steps":10,"eval_loss":0.1}\n', 3),
        (line(3) + b'{"step":3,"steps":10,"train_loss":0.1}\n', 3),
        (line(4, None), 4),
        (b"\xff\n[]\n", None),
        (line(1) + b'{"step":2,"steps":3,"x":"\xff"}\n' + b'{"x":' + b"[" * 5000 + b"\n", 1),
        (line(1) + line(10**400), 1),
        (line(1) * 1000 + line(2), 2),
    ],
)
def test_the_last_whole_line_of_a_step_counts(
    metrics: Path, content: bytes, step: int | None
) -> None:
    metrics.write_bytes(content)

    found = last_step(metrics)
    assert (found.step if found else None) == step


@pytest.mark.parametrize("place", LEFT_IN_PLACE)
def test_what_the_training_left_in_place_of_its_metrics_counts_as_not_there(
    metrics: Path, place: Callable[[Path], None]
) -> None:
    place(metrics)

    assert last_step(metrics) is None


def test_time_left_comes_from_the_pace_since_the_first_look(metrics: Path) -> None:
    clock = iter([0.0, 100.0, 108.0, 200.0, 203.0]).__next__
    watch = ProgressWatch(metrics, clock)

    assert watch.look() is None
    for step, left in ((2, None), (4, 300.0), (6, 108.0)):
        metrics.write_bytes(line(step))
        progress = watch.look()
        assert progress is not None
        assert progress.newest == Step(step, 10, 0.5, 0.25, 0.75)
        assert progress.seconds_left == left
        assert watch.look() is None
    metrics.write_bytes(line(1))  # it goes on from a checkpoint before the first look
    assert watch.look() == TrainingProgress(Step(1, 10, 0.5, 0.25, 0.75), None)


def test_first_and_last_step_are_told_and_few_between() -> None:
    times = iter([0.0, 1.0, 29.0, 30.0, 31.0, 31.5])
    told: list[int] = []
    tell = seldom(lambda progress: told.append(progress.newest.step), 30.0, times.__next__)
    for step in (1, 2, 3, 4, 5, 10):
        tell(TrainingProgress(Step(step, 10, 0.5), None))

    assert told == [1, 4, 10]


def test_the_last_step_is_not_told_too_soon_where_it_has_to_wait_as_well() -> None:
    times = iter([0.0, 29.0, 31.0, 40.0])
    told: list[int] = []
    tell = seldom(
        lambda progress: told.append(progress.newest.step), 30.0, times.__next__, always_last=False
    )
    for step in (1, 2, 9, 10):
        tell(TrainingProgress(Step(step, 10, 0.5), None))

    assert told == [1, 9]


@pytest.mark.parametrize(
    ("loss", "line"), [(0.51234, "step 4 of 10, loss 0.512"), (None, "step 4 of 10")]
)
def test_progress_is_told_on_a_line(loss: float | None, line: str) -> None:
    assert progress_line(TrainingProgress(Step(4, 10, loss), 12.0)) == line


def test_progress_of_a_script_is_told_up_to_its_last_step(bench: Bench) -> None:
    told: list[int] = []
    manifest = run_training(
        bench.request,
        bench.settings(),
        ProcessLauncher(bench.root / "venv"),
        on_step=lambda *_: None,
        stop=bench.stop,
        on_progress=lambda progress: told.append(progress.newest.step),
    )
    assert manifest.succeeded
    assert told == [1]
