"""The trainer killed at every step of a training in a container, once and twice in a row, or asked
to stop there: its successor finds the container, the script runs once, the model is archived.
"""

import signal
import threading

import pytest

from tests.containers.desk import FIRST, Desk, start_trainer
from tests.crash_points import crash_points
from tests.waiting import wait_for
from trainer import archive, card, latest, publishing, starting, training

pytestmark = pytest.mark.docker

INTERRUPTED = "training.put_back"
JOIN_SECONDS = 60.0
LATE = "training.late"  # tests/trainer/test_process_kills.py comes there
CANCEL_POINTS = ["training.never_started", "training.stopped"]
POINTS = [
    point
    for point in crash_points("training.")
    if point not in (INTERRUPTED, LATE) and point not in CANCEL_POINTS
]

# What is done by then is not done again, so the next trainer does not come there.
ONCE = {"training.remembered", "training.done"}


def killed(desk: Desk, point: str) -> int:
    """The exit code of a trainer that is to be killed at the point."""
    trainer = start_trainer(desk, crash_at=point)
    _, told = trainer.communicate(timeout=60)
    assert trainer.returncode in (0, -signal.SIGKILL), told
    return trainer.returncode


def finish(desk: Desk) -> None:
    with desk.trainings(once=True) as thread:
        thread.wait(threading.Event())


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("point", POINTS)
def test_a_trainer_killed_at_a_step_has_its_container_found(
    point: str, times: int, desk: Desk
) -> None:
    codes = [killed(desk, point) for _ in range(times)]
    assert codes == [-signal.SIGKILL, 0 if point in ONCE else -signal.SIGKILL][:times]

    finish(desk)

    desk.assert_trained_once()


@pytest.mark.parametrize("point", POINTS)
def test_a_trainer_stopped_at_a_step_leaves_the_rest_to_its_successor(
    point: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = desk.trainings(once=True)
    stop = threading.Event()

    def stand(name: str) -> None:
        if name == point:
            stop.set()
            thread._stop.wait()

    for module in (training, starting, archive, card, latest, publishing):
        monkeypatch.setattr(module, "crash_point", stand)
    with thread:
        thread.wait(stop)
        assert stop.is_set()
    # A process would end here; this thread may be removing its container still.
    thread._thread.join(JOIN_SECONDS)
    assert not thread._thread.is_alive()

    finish(desk)

    desk.assert_trained_once()


def test_a_trainer_killed_after_an_interruption_starts_the_script_again(desk: Desk) -> None:
    trainer = start_trainer(desk, "--until", "/output/go", crash_at=INTERRUPTED)
    wait_for(lambda: desk.notes() == ["started"])
    [container] = desk.containers()
    container.kill()
    _, told = trainer.communicate(timeout=60)
    assert trainer.returncode == -signal.SIGKILL, told

    finish(desk)

    assert desk.notes() == ["started", "started", "ended"]
    desk.assert_trained(FIRST)
    assert desk.containers() == []
