"""No socket is opened: the worker's producer keeps what it is given."""

import pytest

from streams import app as wiring
from tests.faust.worker import HeldProducer


@pytest.fixture(autouse=True)
def _held_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "RecordProducer", HeldProducer)
