"""Containers of cancelled trainings: by a living trainer, after a dead one, without an engine."""

import signal

import pytest
from docker.models.containers import Container
from structlog.testing import capture_logs

from tests.containers.desk import FIRST, SECOND, Desk, start_trainer
from tests.containers.relay import Cut
from tests.containers.test_engine_gone import GONE, let_go, postponed
from tests.trainer.driven import assert_lawful
from tests.waiting import wait_for
from trainer.cancelling import WISH, wish_to_cancel

pytestmark = pytest.mark.docker


def cancel_first(desk: Desk) -> None:
    folder = desk.folder(FIRST)
    folder.mkdir(parents=True, exist_ok=True)
    wish_to_cancel(folder, "")


def assert_cancelled_once(desk: Desk, *, code: int | None = None) -> None:
    """It has failed, once, and left no container; the dataset after it is trained."""
    manifest = desk.manifest()
    assert manifest["why"] == "cancelled"
    assert manifest["exit_code"] == (code or manifest["exit_code"]) != 0
    assert {"gated", "archived", "promoted", "succeeded"}.isdisjoint(
        line.split()[1] for line in desk.told() if line.startswith(FIRST)
    )
    assert desk.told().count(f"{FIRST} failed") >= 1
    assert not (desk.folder(FIRST) / WISH).exists()
    assert desk.notes().count("started") <= 1
    assert desk.containers() == []
    assert_lawful(desk.data.root)
    desk.assert_trained(SECOND)
    assert not list(desk.data.models.glob(".*"))


def finish(desk: Desk, arguments: str = "") -> None:
    """By another trainer."""
    let_go(desk.data)
    with desk.trainings(arguments) as thread:
        wait_for(lambda: desk.is_done() and desk.is_done(SECOND))
        thread.check()


@pytest.mark.parametrize(("arguments", "code"), [("", 143), ("--stubborn", 137)])
def test_a_container_that_runs_is_stopped_and_removed(
    arguments: str, code: int, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    if code == 137:
        monkeypatch.setattr("trainer.docker_launcher.STOP_SECONDS", 1)
    desk.publish_another()
    with desk.trainings(f"--until /output/go {arguments}") as thread:
        wait_for(lambda: desk.notes() == ["started"])
        cancel_first(desk)
        wait_for(desk.is_done)
        let_go(desk.data)
        wait_for(lambda: desk.is_done(SECOND))
        thread.check()

    assert_cancelled_once(desk, code=code)


@pytest.mark.parametrize("point", [
    "training.recorded", "training.started", "training.script_ended", "training.finished_told",
    "training.judged",
])  # fmt: skip
def test_a_trainer_killed_before_the_wish_has_its_container_ended_by_the_next(
    point: str, desk: Desk
) -> None:
    desk.publish_another()
    trainer = start_trainer(desk, crash_at=point)
    _, told = trainer.communicate(timeout=60)
    assert trainer.returncode == -signal.SIGKILL, told
    cancel_first(desk)

    finish(desk)

    assert_cancelled_once(desk)


@pytest.mark.parametrize("point", [
    "training.never_started", "training.ended", "training.cleaned_up", "training.wish_gone",
])  # fmt: skip
def test_a_trainer_killed_while_it_cancels_is_followed_by_one_that_goes_on(
    point: str, desk: Desk
) -> None:
    desk.publish_another()
    cancel_first(desk)
    trainer = start_trainer(desk, crash_at=point)
    _, told = trainer.communicate(timeout=60)
    assert trainer.returncode == -signal.SIGKILL, told

    finish(desk)

    assert_cancelled_once(desk)


def test_a_trainer_killed_behind_the_end_of_the_container_is_followed_by_one_that_goes_on(
    desk: Desk,
) -> None:
    desk.publish_another()
    for point in ("training.started", "training.stopped"):
        trainer = start_trainer(desk, "--until", "/output/go", crash_at=point)
        _, told = trainer.communicate(timeout=60)
        assert trainer.returncode == -signal.SIGKILL, told
        cancel_first(desk)

    finish(desk)

    assert_cancelled_once(desk)


@pytest.mark.parametrize(
    "cut",
    [
        Cut("POST /containers/[^/]+/stop"),
        Cut("POST /containers/[^/]+/stop", 0),
        Cut("DELETE /containers/"),
        Cut("DELETE /containers/", 0),
    ],
    ids=lambda cut: f"{cut.request}, {cut.pieces}",
)
def test_an_engine_that_goes_while_one_is_cancelled_postpones_that(cut: Cut, desk: Desk) -> None:
    desk.publish_another()
    with capture_logs() as logs, desk.trainings("--until /output/go") as thread:
        wait_for(lambda: desk.notes() == ["started"])
        desk.relay.cut_at(cut)
        cancel_first(desk)
        wait_for(lambda: desk.relay.is_cut.is_set() and len(postponed(logs)) >= 2)
        assert all(GONE in why for why in postponed(logs))
        let_go(desk.data)
        desk.relay.connect()
        wait_for(lambda: desk.is_done() and desk.is_done(SECOND))
        thread.check()

    assert_cancelled_once(desk)


def remove(container: Container) -> None:
    container.remove(force=True)


def kill(container: Container) -> None:
    container.kill()


@pytest.mark.parametrize("meanwhile", [remove, kill])
def test_a_container_that_is_gone_when_the_wish_is_read_is_not_started_again(
    meanwhile: object, desk: Desk
) -> None:
    """As when the engine goes down, and the training is cancelled before it is back."""
    assert callable(meanwhile)
    desk.publish_another()
    with capture_logs() as logs, desk.trainings("--until /output/go") as thread:
        wait_for(lambda: desk.notes() == ["started"])
        desk.relay.cut()
        wait_for(lambda: any(GONE in why for why in postponed(logs)))
        [container] = desk.containers()
        meanwhile(container)
        cancel_first(desk)
        let_go(desk.data)
        desk.relay.connect()
        wait_for(lambda: desk.is_done() and desk.is_done(SECOND))
        thread.check()

    assert_cancelled_once(desk)
