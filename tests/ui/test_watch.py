"""The watch of the brokers: what a page is shown after nobody has looked for a while."""

import time
from pathlib import Path

import pytest

from pairstream.ui import watch
from pairstream.ui.watch import Watch
from schemas.settings import TrainerSettings
from tests.waiting import wait_for


def test_what_nobody_foresaw_is_told_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looks = iter([RuntimeError("secret"), None])

    def look(*_: object) -> None:
        error = next(looks, None)
        if error is not None:
            raise error
        watched._problem = None

    monkeypatch.setattr(Watch, "_look", look)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.2)

    with Watch(TrainerSettings(data_dir=tmp_path)) as watched:
        watched.wait_for_first(watch.FRESH_SECONDS)
        told = watched.sight()
        assert "RuntimeError" in str(told.problem)
        assert "secret" not in str(told.problem)
        assert told.overview is not None  # what the files tell
        wait_for(lambda: watched.sight().problem is None)


def test_files_that_cannot_be_read_are_told_beside_the_brokers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise UnicodeDecodeError("utf-8", b"", 0, 1, "x")

    monkeypatch.setattr(watch, "read_overview", fails)
    monkeypatch.setattr(watch, "ANSWER_SECONDS", 0.0)

    with Watch(TrainerSettings(bootstrap_servers="127.0.0.1:1")) as watched:
        watched.wait_for_first(watch.FRESH_SECONDS)
        problem = str(watched.sight().problem)

    assert "no broker answers" in problem
    assert "UnicodeDecodeError" in problem


def test_the_first_sight_after_a_rest_is_a_fresh_one(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    monkeypatch.setattr(Watch, "_look", lambda _, now: looks.append(now))
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.01)

    with Watch(TrainerSettings()) as watched:
        watched.wait_for_first(watch.FRESH_SECONDS)
        watched._looked_at -= watch.REST_SECONDS
        asked = time.monotonic()
        watched.sight()

        assert looks[-1] >= asked
