"""What worker and trainer serve: their metrics, and whether they are live and ready."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from pairstream.http_server import serving
from schemas.errors import InvalidRecord, PairstreamError
from schemas.metrics import HUNG_SECONDS, Lag
from schemas.rows import DiscardReason, PairRule, TrainingStep, TrainingStepName
from schemas.settings import TrainerSettings, WorkerSettings
from schemas.topics import RUN_EVENTS
from streams.partition import Partition
from streams.redaction import PROGRAM, redact
from streams.redaction_patterns import PATTERNS
from streams.vitals import STUCK_SECONDS, WorkerVitals
from tests.commands.deployment import attempted, finished, proposed, started
from tests.conftest import needs_ipv6
from tests.operations.exposition import get, samples
from trainer.vitals import TrainerVitals


class StandIn:
    """A worker's parts, as its vitals see them."""

    def __init__(self) -> None:
        self.partitions: list[Partition] | None = [Partition(extended=False)]
        self.polled: float | None = time.monotonic()
        self.answers = True

    def runs(self) -> list[Partition] | None:
        return self.partitions

    def lag(self) -> Iterator[Lag]:
        yield Lag("events", 3, "workers", 17)

    def polled_at(self) -> float | None:
        return self.polled

    def reaches_brokers(self) -> bool:
        return self.answers


@pytest.fixture
def worker() -> tuple[WorkerVitals, StandIn]:
    vitals, work = WorkerVitals(WorkerSettings()), StandIn()
    vitals.work = work
    return vitals, work


Records = list[tuple[bytes | None, bytes | None, int]]


def records(*events: dict[str, object]) -> Records:
    return [
        (str(event["run_id"]).encode(), json.dumps(event).encode(), offset)
        for offset, event in enumerate(events)
    ]


def told(
    vitals: WorkerVitals | TrainerVitals,
) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    return samples(generate_latest(vitals.registry).decode())


def test_a_batch_is_counted_by_what_it_held_and_gave(worker: tuple[WorkerVitals, StandIn]) -> None:
    vitals, work = worker
    assert work.partitions is not None
    run = [
        started("r-1"), proposed("r-1"), attempted("r-1", 1, 0), attempted("r-1", 2, 5),
        finished("r-1"), started("r-2"), {"type": "of.another.version", "run_id": "r-1"},
    ]  # fmt: skip
    effects = work.partitions[0].apply(records(*run), now_ms=0)
    vitals.folded(effects, newest_ms=1_500)

    found = told(vitals)
    consumed = found["pairstream_events_consumed_total"]
    assert consumed[("type", "code.attempted"),] == 2
    assert consumed[("type", "run.started"),] == 2
    assert consumed[("type", "unknown"),] == 1
    assert found["pairstream_runs_closed_total"][("outcome", "paired"),] == 1
    assert found["pairstream_pairs_emitted_total"][("kind", "mixed_code"),] == 1
    assert found["pairstream_runs_open"][()] == 1
    assert found["pairstream_open_runs_bytes"][()] == work.partitions[0].size > 0
    assert found["pairstream_last_event_timestamp_seconds"][()] == 1.5


def test_every_label_that_may_come_stands_at_0_first(worker: tuple[WorkerVitals, StandIn]) -> None:
    """A counter that comes into being at 1 has no increase that an alert could see."""
    found = told(worker[0])

    assert {key[0][1] for key in found["pairstream_pairs_emitted_total"]} == set(get_args(PairRule))
    outcomes = {key[0][1] for key in found["pairstream_runs_closed_total"]}
    assert outcomes == {"paired", *get_args(DiscardReason)}
    steps = told(TrainerVitals(TrainerSettings()))["pairstream_training_runs_total"]
    assert {key[0][1] for key in steps} == set(get_args(TrainingStepName))


def test_what_was_taken_out_is_counted_once_by_pattern() -> None:
    settings = WorkerSettings(redact="secrets", redact_command="cat")
    vitals, counts = WorkerVitals(settings), Counter[str]()
    redact("AKIA" + "B" * 16, PATTERNS, counts)
    vitals.redacted(counts)
    vitals.redacted(counts)
    redact("AKIA" + "C" * 16, PATTERNS, counts)
    vitals.redacted(counts)

    found = {key[0][1]: n for key, n in told(vitals)["pairstream_redactions_total"].items()}
    assert found["aws_access_key"] == 2
    secrets = {pattern.kind for pattern in PATTERNS if pattern.group == "secrets"}
    assert found.keys() == {*secrets, PROGRAM}
    assert sum(found.values()) == 2


def test_no_id_becomes_a_label(worker: tuple[WorkerVitals, StandIn]) -> None:
    vitals, work = worker
    assert work.partitions is not None
    vitals.folded(work.partitions[0].apply(records(started("r-1")), now_ms=0), newest_ms=0)
    vitals.refused(RUN_EVENTS, [InvalidRecord("invalid_event", "of r-1")])

    text = generate_latest(vitals.registry).decode()
    assert "r-1" not in text
    rejected = told(vitals)["pairstream_events_rejected_total"]
    assert rejected[("reason", "invalid_event"), ("topic", RUN_EVENTS.name)] == 1


def test_lag_and_latency_are_told(worker: tuple[WorkerVitals, StandIn]) -> None:
    vitals, _ = worker
    vitals.acknowledged("settling", 1_000, now_ms=1_400)
    vitals.acknowledged("settling", 9_000, now_ms=1_400)  # by a broker's clock that is ahead

    found = told(vitals)
    labels = ("group", "workers"), ("partition", "3"), ("topic", "events")
    assert found["pairstream_consumer_lag_records"][labels] == 17
    buckets = found["pairstream_end_to_end_latency_seconds_bucket"]
    assert buckets[("le", "0.25"), ("stage", "settling")] == 1
    assert buckets[("le", "0.5"), ("stage", "settling")] == 2


def test_a_worker_is_ready_once_its_state_is_read_and_brokers_answer() -> None:
    vitals, work = WorkerVitals(WorkerSettings()), StandIn()
    assert vitals.not_ready() == "it is starting"
    assert vitals.not_live() is None

    vitals.work = work
    assert vitals.not_ready() is None
    work.partitions = []  # it stands by
    assert vitals.not_ready() is None
    work.partitions = None
    assert "state is being read" in str(vitals.not_ready())
    work.partitions, work.answers = [], False
    assert vitals.not_ready() == "no broker answers"
    assert vitals.not_live() is None  # waiting for brokers is no reason to be started again


def test_a_worker_whose_loops_stand_still_is_not_live(
    worker: tuple[WorkerVitals, StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    vitals, work = worker
    now = time.monotonic()
    work.polled = now
    monkeypatch.setattr(time, "monotonic", lambda: now + STUCK_SECONDS + 1)
    assert "main loop" in str(vitals.not_live())

    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert vitals.not_live() is None
    work.polled = now - HUNG_SECONDS - 1
    assert "no records were looked for" in str(vitals.not_live())
    assert vitals.not_ready() == vitals.not_live()


def test_a_worker_that_works_on_what_it_has_read_is_live(
    worker: tuple[WorkerVitals, StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    vitals, _ = worker
    later = time.monotonic() + STUCK_SECONDS + HUNG_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert vitals.not_live() is not None

    vitals.at_work()
    assert vitals.not_live() is None


def test_a_trainer_counts_the_steps_of_trainings_and_their_time(tmp_path: Path) -> None:
    vitals = TrainerVitals(TrainerSettings(data_dir=tmp_path / "not there yet"))
    begun = datetime(2026, 11, 23, tzinfo=UTC)
    steps: list[tuple[TrainingStepName, int]] = [("requested", 0), ("started", 1), ("failed", 11)]
    for step, minutes in steps:
        when = begun + timedelta(minutes=minutes)
        vitals.stepped(TrainingStep("dpo-ds-000001", step, when, "ds-000001", "0" * 64))
    vitals.stepped(TrainingStep("dpo-ds-000002", "succeeded", begun, "ds-000002", "0" * 64))

    found = told(vitals)
    assert found["pairstream_training_runs_total"][("status", "failed"),] == 1
    assert found["pairstream_training_runs_total"][("status", "succeeded"),] == 1
    assert found["pairstream_training_duration_seconds_count"][()] == 1
    assert found["pairstream_training_duration_seconds_sum"][()] == 600
    free, size = (found[f"pairstream_data_dir_{name}_bytes"][()] for name in ("free", "size"))
    assert 0 < free <= size
    assert vitals.not_ready() == "it is starting"


class Fixed:
    """Vitals that say what they are told to."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.complaint: str | None = None

    def not_live(self) -> str | None:
        return None

    def not_ready(self) -> str | None:
        return self.complaint


def test_the_port_answers_by_what_the_vitals_say() -> None:
    vitals = Fixed()
    with serving(vitals, host="127.0.0.1", port=free_port()) as port:
        assert port is not None
        assert get(port, "/livez") == (200, "ok\n")
        assert get(port, "/readyz?verbose") == (200, "ok\n")
        vitals.complaint = "it is starting"
        assert get(port, "/readyz") == (503, "it is starting\n")
        assert get(port, "/metrics")[0] == 200
        openmetrics = {"Accept": "application/openmetrics-text; version=1.0.0"}
        assert get(port, "/metrics", headers=openmetrics)[1].endswith("# EOF\n")
        assert get(port, "/../etc/passwd")[0] == 404

    with pytest.raises(urllib.error.URLError):
        get(port, "/livez")


@needs_ipv6
def test_the_port_is_served_on_all_addresses_of_both_kinds() -> None:
    with serving(Fixed(), host="::", port=free_port()) as port:
        assert port is not None
        assert get(port, "/livez") == (200, "ok\n")
        with urllib.request.urlopen(f"http://[::1]:{port}/livez", timeout=30) as answer:
            assert answer.status == 200


def test_a_client_that_says_nothing_holds_up_neither_others_nor_the_end() -> None:
    with serving(Fixed(), host="127.0.0.1", port=free_port()) as port:
        assert port is not None
        silent = socket.create_connection(("127.0.0.1", port))
        assert get(port, "/livez")[0] == 200
    silent.close()
    assert "http" not in {thread.name for thread in threading.enumerate()}


def test_a_port_that_is_taken_is_said_with_its_setting() -> None:
    with (
        serving(Fixed(), host="127.0.0.1", port=free_port()) as port,
        pytest.raises(PairstreamError, match="PAIRSTREAM_HTTP_PORT"),
        serving(Fixed(), host="127.0.0.1", port=port),
    ):
        pass


def test_without_a_port_nothing_is_served() -> None:
    with serving(Fixed(), host="127.0.0.1", port=None) as port:
        assert port is None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
