"""The Docker Engine goes away before, in and after a training, or takes its container along."""

import uuid
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest
from docker.models.containers import Container
from structlog.testing import capture_logs

from tests.containers.desk import FIRST, SECOND, Desk
from tests.containers.relay import Cut
from tests.containers.small_image import small_context
from tests.waiting import wait_for
from trainer import training
from trainer.image import SCRIPT, BuildContext
from trainer.layout import DataDir
from trainer.trainings import training_id

pytestmark = pytest.mark.docker

GONE = "no Docker Engine answers: start one"


def postponed(logs: list[MutableMapping[str, Any]]) -> list[str]:
    """Why trainings were postponed."""
    return [entry["why"] for entry in list(logs) if entry["event"] == "training_postponed"]


def let_go(data: DataDir) -> None:
    """The scripts of all trainings, those to come too."""
    for name in data.dataset_names():
        folder = data.models / training_id(name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "go").touch()


@pytest.mark.parametrize(
    "cut",
    [
        Cut("GET /version"),
        Cut("GET /_ping"),
        Cut("GET /images/pairstream-training"),
        Cut("POST /build"),
        Cut("POST /build", 0),
        Cut("POST /build", 3),
        Cut("GET /info"),
        Cut("POST /containers/create"),
        Cut("POST /containers/create", 0),
        Cut("POST /containers/[^/]+/start"),
        Cut("POST /containers/[^/]+/start", 0),
        Cut("GET /containers/[^/]+/logs"),
        Cut("GET /containers/[^/]+/logs", 0),
        Cut("DELETE /containers/"),
        Cut("DELETE /containers/", 0),
        Cut("GET /images/json"),
    ],
    ids=lambda cut: f"{cut.request}, {cut.pieces}",
)
def test_an_engine_that_goes_at_a_request_postpones_the_training_which_is_done_once(
    cut: Cut, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "build" in cut.request:
        new_image = small_context(uuid.uuid4().hex)
        monkeypatch.setattr(training, "training_context", lambda: new_image)
    desk.relay.cut_at(cut)

    with capture_logs() as logs, desk.trainings() as thread:
        wait_for(lambda: desk.relay.is_cut.is_set() and len(postponed(logs)) >= 2)
        desk.relay.connect()
        wait_for(desk.is_done)
        thread.check()

    assert all(GONE in why for why in postponed(logs))
    desk.assert_trained_once()


def end(container: Container) -> None:
    container.wait()


def remove(container: Container) -> None:
    container.remove(force=True)


def kill(container: Container) -> None:
    container.kill()


@pytest.mark.parametrize(
    ("meanwhile", "notes", "interruptions"),
    [
        (None, ["started", "ended"], 0),
        (end, ["started", "ended"], 0),
        (remove, ["started", "started", "ended"], 0),
        (kill, ["started", "started", "ended"], 1),
    ],
    ids=["it runs on", "it ends", "it is removed", "it is killed"],
)
def test_a_training_is_followed_again_when_the_engine_comes_back(
    meanwhile: Callable[[Container], None] | None,
    notes: list[str],
    interruptions: int,
    desk: Desk,
) -> None:
    with capture_logs() as logs, desk.trainings("--until /output/go") as thread:
        wait_for(lambda: desk.notes() == ["started"])
        desk.relay.cut()
        wait_for(lambda: any(GONE in why for why in postponed(logs)))
        [container] = desk.containers()
        if meanwhile is end:
            let_go(desk.data)
        if meanwhile is not None:
            meanwhile(container)
        let_go(desk.data)
        desk.relay.connect()
        wait_for(desk.is_done)
        thread.check()

    assert desk.notes() == notes
    assert desk.manifest()["interruptions"] == interruptions
    desk.assert_trained(FIRST)
    assert desk.containers() == []


@pytest.mark.parametrize(("number", "code"), [("SIGKILL", 137), ("SIGTERM", 143)])
def test_a_training_that_is_interrupted_each_time_fails_and_the_next_is_trained(
    number: str, code: int, desk: Desk
) -> None:
    desk.publish_another()
    with capture_logs() as logs, desk.trainings("--until /output/go") as thread:
        for times in range(1, training.MOST_INTERRUPTIONS + 2):
            wait_for(lambda times=times: desk.notes() == ["started"] * times)
            [container] = desk.containers()
            container.kill(number)
        let_go(desk.data)
        wait_for(lambda: desk.is_done(SECOND))
        thread.check()

    manifest = desk.manifest()
    assert manifest["exit_code"] == code
    assert manifest["why"] == f"its engine or somebody ended it ({code})"
    assert manifest["interruptions"] == training.MOST_INTERRUPTIONS == len(postponed(logs))
    assert all(f"{FIRST} was interrupted" in why for why in postponed(logs))
    assert desk.told().count(f"{FIRST} failed") == 1
    assert not desk.data.models.joinpath(f"{FIRST}.tar.gz").exists()
    desk.assert_trained(SECOND)
    assert desk.containers() == []


HUNGRY = """\
import json
if json.load(open("/dataset/manifest.json"))["name"] == "ds-000001":
    hoard = [bytearray(1 << 20) for _ in range(4096)]
"""


def test_a_training_killed_for_memory_fails_with_advice_and_the_next_is_trained(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = small_context().files
    hungry = BuildContext({**files, SCRIPT: HUNGRY.encode() + files[SCRIPT]})
    monkeypatch.setattr(training, "training_context", lambda: hungry)
    desk.publish_another()

    with capture_logs() as logs, desk.trainings(training_memory="64m") as thread:
        wait_for(lambda: desk.is_done(SECOND))
        thread.check()

    manifest = desk.manifest()
    assert manifest["exit_code"] == 137
    assert manifest["why"] == "the container ran out of memory: raise training-memory"
    # An engine may miss the kernel's word for it, and then it is tried once more.
    missed = manifest["interruptions"]
    assert missed <= 1
    assert len(postponed(logs)) == missed
    assert desk.told().count(f"{FIRST} started") == 1 + missed
    assert desk.told().count(f"{FIRST} failed") == 1
    desk.assert_trained(SECOND)
    assert desk.containers() == []
