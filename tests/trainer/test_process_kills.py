"""Processes of a training killed: the script, its supervisor, both, or by the deadline."""

import os
import signal
import threading

import pytest

from tests.trainer.bench import Bench, Submit, is_running
from tests.waiting import wait_for
from trainer import process_launcher, training
from trainer.cancelling import TrainingInterrupted
from trainer.process_launcher import ProcessLauncher

pytestmark = pytest.mark.long


def test_a_killed_supervisor_leaves_the_end_unknown_and_fails_the_training(
    bench: Bench, in_background: Submit
) -> None:
    running = in_background()
    supervisor = int((bench.folder / "process.lock").read_text())
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not is_running(supervisor))
    plan = training._plan(bench.request, bench.settings())
    assert ProcessLauncher(bench.root / "venv").poll(plan) is None  # the script lives on
    (bench.root / "gate").touch()

    manifest = running.result(30)
    assert manifest.exit_code == 137
    assert manifest.why == "its supervisor was killed, so nobody knows how it ended"
    assert bench.counts() == ["started", "ended"]


def test_supervisor_and_script_killed_beside_a_living_trainer_fail_the_training(
    bench: Bench, in_background: Submit
) -> None:
    running = in_background()
    os.killpg(int((bench.folder / "process.lock").read_text()), signal.SIGKILL)

    assert running.result(30).exit_code == 137


def test_supervisor_and_script_killed_together_with_the_trainer_are_started_again(
    bench: Bench, in_background: Submit
) -> None:
    interrupted = in_background()
    bench.stop.set()
    with pytest.raises(TrainingInterrupted):
        interrupted.result(30)
    supervisor, script = (bench.folder / "process.lock").read_text(), bench.notes()[0].split()[1]
    os.killpg(int(supervisor), signal.SIGKILL)
    wait_for(lambda: not (is_running(int(supervisor)) or is_running(int(script))))
    (bench.root / "gate").touch()

    bench.stop = threading.Event()
    assert bench.run().succeeded
    assert bench.counts() == ["started", "started", "ended"]


@pytest.mark.parametrize(("arguments", "code"), [("", 143), ("--stubborn", 137)])
def test_a_training_beyond_its_deadline_is_asked_to_end_and_then_killed(
    arguments: str,
    code: int,
    bench: Bench,
    in_background: Submit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_launcher, "STOP_SECONDS", 0.2 if code == 137 else 60)
    interrupted = in_background(arguments)
    bench.stop.set()
    with pytest.raises(TrainingInterrupted):
        interrupted.result(30)
    bench.stop = threading.Event()

    manifest = bench.run(training_deadline_seconds=0.001)

    assert (manifest.exit_code, manifest.why) == (code, "it took longer than 0.001 s")
    assert bench.counts() == ["started"]
    assert not is_running(int(bench.notes()[0].split()[1]))
