"""What the trainer writes counts only when it was acknowledged."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from schemas import clients
from schemas.clients import ClientConfig
from schemas.dead_letters import Origin
from schemas.errors import InvalidRecord, PairstreamError
from schemas.settings import KafkaSettings
from schemas.topics import MAX_RECORD_BYTES
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import publish
from trainer import outbox
from trainer.datasets import read_manifest
from trainer.outbox import Outbox

ORIGIN = Origin("pairs", 0, 7)
ERROR = InvalidRecord("invalid_row", "bad")


@pytest.fixture
def unheard(monkeypatch: pytest.MonkeyPatch) -> Outbox:
    """No broker listens to it, and it soon gives up."""
    made = clients.producer

    def impatient(settings: KafkaSettings) -> ClientConfig:
        return made(settings) | {"delivery.timeout.ms": 100, "linger.ms": 1, "log_level": 0}

    monkeypatch.setattr(outbox.clients, "producer", impatient)
    return Outbox(KafkaSettings(bootstrap_servers="127.0.0.1:1"))


def test_with_nothing_to_write_nothing_is_waited_for(unheard: Outbox) -> None:
    unheard.deliver()


def test_a_record_that_was_not_acknowledged_fails_this_and_every_later_delivery(
    unheard: Outbox,
) -> None:
    unheard.refuse(b"key", b"value", [], ORIGIN, ERROR)

    for _ in range(2):  # another thread may have asked first
        with pytest.raises(PairstreamError, match="Kafka did not take what the trainer wrote"):
            unheard.deliver()


def test_a_step_that_is_too_large_fails_its_delivery(unheard: Outbox, tmp_path: Path) -> None:
    dataset = read_manifest(publish(tmp_path, make_pairs(3)).datasets / "ds-000001")

    with pytest.raises(PairstreamError, match=r"trainings\.v1: .*too large"):
        unheard.step("dpo-ds-000001", "failed", dataset, "x" * (MAX_RECORD_BYTES + 1))


def test_a_record_that_is_too_large_is_refused_as_far_as_it_fits(unheard: Outbox) -> None:
    unheard.refuse(b"key", b"x" * (MAX_RECORD_BYTES + 1), [], ORIGIN, ERROR)

    with pytest.raises(PairstreamError, match="timed out"):
        unheard.deliver()


def test_progress_is_not_waited_for_and_its_loss_is_no_failure(
    unheard: Outbox, tmp_path: Path
) -> None:
    dataset = read_manifest(publish(tmp_path, make_pairs(3)).datasets / "ds-000001")
    with capture_logs() as logs:
        unheard.step("dpo-ds-000001", "progress", dataset, "step 1 of 2")
        unheard.deliver()

    assert [entry["event"] for entry in logs] == ["progress_not_told"]
