"""The watch of the brokers: what a page is shown after nobody has looked for a while."""

import time

import pytest

from pairstream.ui import watch
from pairstream.ui.watch import Watch
from schemas.settings import TrainerSettings


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
