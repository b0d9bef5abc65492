"""Processes of a training ended: its supervisor, or both, by a machine that goes down, or by the
deadline.
"""

import os
import signal
from collections.abc import Callable

import pytest

from tests.trainer.bench import Bench, Submit, is_running
from tests.waiting import wait_for
from trainer import process_launcher, training
from trainer.launcher import EngineUnavailable
from trainer.process_launcher import ProcessLauncher

pytestmark = pytest.mark.long


def go_away_at(place: str) -> Callable[[str], None]:
    def passed(name: str) -> None:
        if name == place:
            raise RuntimeError("the trainer went away")

    return passed


def test_a_killed_supervisor_leaves_the_end_unknown_and_the_script_is_started_again(
    bench: Bench, in_background: Submit
) -> None:
    running = in_background()
    supervisor = int((bench.folder / "process.lock").read_text())
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not is_running(supervisor))
    plan = training._plan(bench.request, bench.settings())
    assert ProcessLauncher(bench.root / "venv").poll(plan) is None  # the script lives on
    (bench.root / "gate").touch()

    with pytest.raises(EngineUnavailable, match="supervisor was killed, so nobody knows how it en"):
        running.result(30)
    assert bench.counts() == ["started", "ended"]

    manifest = bench.run()
    assert (manifest.exit_code, manifest.interruptions) == (0, 1)
    assert bench.counts() == ["started", "ended"] * 2


def test_supervisor_and_script_killed_beside_a_living_trainer_are_started_again(
    bench: Bench, in_background: Submit
) -> None:
    running = in_background()
    os.killpg(int((bench.folder / "process.lock").read_text()), signal.SIGKILL)

    with pytest.raises(EngineUnavailable, match=r"interrupted \(1 of at most 2 times\)"):
        running.result(30)
    (bench.root / "gate").touch()
    assert bench.run().succeeded
    assert bench.counts() == ["started", "started", "ended"]


def test_what_was_asked_to_end_with_the_trainer_goes_on(
    bench: Bench, in_background: Submit
) -> None:
    """As systemd does: it ends all processes of the service, the script's too."""
    bench.leave(in_background())
    os.killpg(int((bench.folder / "process.lock").read_text()), signal.SIGTERM)
    wait_for((bench.folder / "exit_code").exists)
    (bench.root / "gate").touch()

    with pytest.raises(EngineUnavailable, match=r"asked it to end \(143\); the next try goes on"):
        bench.run()
    manifest = bench.run()
    assert (manifest.exit_code, manifest.interruptions) == (0, 1)
    assert bench.counts() == ["started", "started", "ended"]


def test_what_is_asked_to_end_each_time_has_failed_at_last(bench: Bench) -> None:
    for _ in range(2):
        with pytest.raises(EngineUnavailable, match="the next try goes on"):
            bench.run("--code 143")

    manifest = bench.run("--code 143")
    assert (manifest.exit_code, manifest.interruptions) == (143, 2)
    assert manifest.why == "the machine or somebody asked it to end (143)"
    assert bench.request.is_done()
    assert bench.counts() == ["started", "ended"] * 3


def test_supervisor_and_script_killed_together_with_the_trainer_are_started_again(
    bench: Bench, in_background: Submit
) -> None:
    bench.leave(in_background())
    supervisor, script = (bench.folder / "process.lock").read_text(), bench.notes()[0].split()[1]
    os.killpg(int(supervisor), signal.SIGKILL)
    wait_for(lambda: not (is_running(int(supervisor)) or is_running(int(script))))
    (bench.root / "gate").touch()

    with pytest.raises(EngineUnavailable, match=r"interrupted \(1 of at most 2 times\)"):
        bench.run()
    manifest = bench.run()
    assert (manifest.exit_code, manifest.interruptions) == (0, 1)
    assert bench.counts() == ["started", "started", "ended"]


@pytest.mark.parametrize("place", ["training.late", "training.script_ended"])
def test_what_was_stopped_at_its_deadline_is_not_started_again(
    place: str, bench: Bench, in_background: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trainer went away before it had written down how it ended."""
    bench.leave(in_background())
    with monkeypatch.context() as dying:
        dying.setattr(training, "crash_point", go_away_at(place))
        with pytest.raises(RuntimeError, match="went away"):
            bench.run(training_deadline_seconds=0.001)

    manifest = bench.run(training_deadline_seconds=0.001)

    assert (manifest.exit_code, manifest.why) == (143, "it took longer than 0.001 s")
    assert bench.counts() == ["started"]


@pytest.mark.parametrize(("arguments", "code"), [("", 143), ("--stubborn", 137)])
def test_a_training_beyond_its_deadline_is_asked_to_end_and_then_killed(
    arguments: str,
    code: int,
    bench: Bench,
    in_background: Submit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_launcher, "STOP_SECONDS", 0.2 if code == 137 else 60)
    bench.leave(in_background(arguments))

    manifest = bench.run(training_deadline_seconds=0.001)

    assert (manifest.exit_code, manifest.why) == (code, "it took longer than 0.001 s")
    assert bench.counts() == ["started"]
    assert not is_running(int(bench.notes()[0].split()[1]))
