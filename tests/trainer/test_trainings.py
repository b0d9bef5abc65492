"""The thread that has every dataset trained: in order, again when the engine was away, or not."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from schemas.errors import PairstreamError
from schemas.rows import TrainingStepName
from schemas.settings import TrainerSettings
from tests.trainer.lives import whole_life
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import make_base_model, publish
from tests.waiting import wait_for
from trainer import trainings
from trainer.datasets import DatasetManifest
from trainer.forgotten import mark_dataset
from trainer.launcher import Ended, EngineUnavailable, Plan, Progress
from trainer.layout import DataDir
from trainer.training_manifest import read_started
from trainer.trainings import Trainings, pending


class Steps:
    """Stands for the outbox."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def step(
        self, training_id: str, step: TrainingStepName, dataset: DatasetManifest, detail: str | None
    ) -> None:
        self.told.append(f"{dataset.name} {step}")


class FakeLauncher:
    """An engine that is away so many times, and whose scripts end with given codes."""

    name = "process"

    def __init__(self, *, away: int = 0, codes: dict[str, int] | None = None) -> None:
        self.away = away
        self.away_at_start = 0
        self.codes = codes or {}
        self.started: list[str] = []
        self.preparing = threading.Event()
        self.prepared = threading.Event()
        self.prepared.set()

    def prepare(self, plan: Plan, progress: Progress) -> str:
        if self.away:
            self.away -= 1
            raise EngineUnavailable("the engine is away")
        self.preparing.set()
        while not self.prepared.wait(0.01):
            progress("preparing")
        return "image-id"

    def start(self, plan: Plan) -> None:
        if self.away_at_start:
            self.away_at_start -= 1
            raise EngineUnavailable("the engine went away")
        self.started.append(plan.dataset.name)
        (plan.folder / "adapter").mkdir()
        (plan.folder / "adapter" / "adapter_model.safetensors").touch()
        (plan.folder / "result.json").write_text("{}")

    def poll(self, plan: Plan) -> Ended | None:
        return Ended(self.codes.get(plan.dataset.name, 0))

    def stop(self, plan: Plan) -> None:
        raise AssertionError("nothing is to be stopped")

    def clean_up(self, plan: Plan) -> None:
        pass


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    make_base_model(tmp_path / "base")
    publish(tmp_path, make_pairs(3))
    return publish(tmp_path, make_pairs(3, mark="s"), first=4)


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLauncher]:
    launcher = FakeLauncher()
    monkeypatch.setattr(trainings, "make_launcher", lambda *_: launcher)
    monkeypatch.setattr(trainings, "FIRST_WAIT_SECONDS", 0.001)
    yield launcher
    launcher.prepared.set()


def make(data: DataDir, steps: Steps, *, once: bool, **given: str) -> Trainings:
    settings = TrainerSettings(
        data_dir=data.root, base_model=str(data.root / "base"), **{"launcher": "process", **given}
    )
    return Trainings(data, settings, "d1", steps, once=once)


def names(data: DataDir) -> list[str]:
    return [request.dataset.name for request in pending(data, "d1")]


def test_what_is_pending_is_trained_oldest_first_and_then_it_rests(
    data: DataDir, steps: Steps, launcher: FakeLauncher
) -> None:
    assert names(data) == ["ds-000001", "ds-000002"]
    with make(data, steps, once=True) as thread:
        thread.wait(threading.Event())

    assert launcher.started == ["ds-000001", "ds-000002"]
    assert names(data) == []
    assert steps.told == [f"{name} {step}" for name in launcher.started for step in whole_life()]


def test_a_dataset_with_forgotten_runs_is_trained_with_a_warning(
    data: DataDir, steps: Steps, launcher: FakeLauncher
) -> None:
    runs = {pair.run_id: datetime.now(UTC) for pair in make_pairs(3)}
    assert mark_dataset(data.datasets / "ds-000001", runs)

    with capture_logs() as logs:
        make(data, steps, once=True).train_pending()

    warned = [log for log in logs if log["event"] == "dataset_holds_forgotten_runs"]
    assert [(log["training_id"], log["runs"]) for log in warned] == [("dpo-ds-000001", len(runs))]
    assert launcher.started == ["ds-000001", "ds-000002"]


def test_a_new_dataset_wakes_it(data: DataDir, steps: Steps, launcher: FakeLauncher) -> None:
    with make(data, steps, once=False) as thread:
        thread.wait(threading.Event())
        publish(data.root, make_pairs(3, mark="t"), first=8)
        assert names(data) == ["ds-000003"]
        thread.wake()
        thread.wait(threading.Event())

    assert launcher.started == ["ds-000001", "ds-000002", "ds-000003"]


def test_an_engine_that_is_away_is_tried_again_less_and_less_often(
    data: DataDir, steps: Steps, launcher: FakeLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainings, "LONGEST_WAIT_SECONDS", 0.003)
    launcher.away = 5
    with capture_logs() as logs, make(data, steps, once=False) as thread:
        wait_for(lambda: not names(data))
        thread.check()

    postponed = [entry["seconds"] for entry in logs if entry["event"] == "training_postponed"]
    assert postponed == [0.001, 0.002, 0.003, 0.003, 0.003]
    assert launcher.started == ["ds-000001", "ds-000002"]


def test_with_once_an_engine_that_is_away_is_an_error(
    data: DataDir, steps: Steps, launcher: FakeLauncher
) -> None:
    launcher.away = 1
    with (
        make(data, steps, once=True) as thread,
        pytest.raises(EngineUnavailable, match="the engine is away"),
    ):
        thread.wait(threading.Event())


def test_the_time_of_a_training_that_was_never_started_does_not_run(
    data: DataDir, steps: Steps, launcher: FakeLauncher
) -> None:
    launcher.away_at_start = 1
    with (
        make(data, steps, once=True) as thread,
        pytest.raises(EngineUnavailable, match="the engine went away"),
    ):
        thread.wait(threading.Event())

    [first, _] = pending(data, "d1")
    assert read_started(first.folder) is None


def test_a_training_that_fails_does_not_hold_up_the_next_and_is_told_at_the_end(
    data: DataDir, steps: Steps, launcher: FakeLauncher
) -> None:
    launcher.codes["ds-000001"] = 13
    with (
        make(data, steps, once=True) as thread,
        pytest.raises(PairstreamError, match="dpo-ds-000001: the loss became no number"),
    ):
        thread.wait(threading.Event())

    assert launcher.started == ["ds-000001", "ds-000002"]
    assert names(data) == []
    assert (data.models / "latest").readlink() == Path("dpo-ds-000002")


def test_what_ends_the_thread_is_raised_where_it_is_seen(
    data: DataDir, steps: Steps, launcher: FakeLauncher
) -> None:
    (data.datasets / "ds-000001" / "train.jsonl").unlink()
    with (
        make(data, steps, once=False) as thread,
        pytest.raises(PairstreamError, match=r"ds-000001/train\.jsonl cannot be read"),
    ):
        thread.wait(threading.Event())
    assert launcher.started == []


def test_without_a_launcher_nothing_is_trained(
    data: DataDir, steps: Steps, launcher: FakeLauncher
) -> None:
    with make(data, steps, once=True, launcher="none") as thread:
        thread.wake()
        thread.wait(threading.Event())

    assert launcher.started == steps.told == []


def test_a_trainer_that_stops_while_it_prepares_starts_nothing(
    data: DataDir, steps: Steps, launcher: FakeLauncher
) -> None:
    launcher.prepared.clear()
    with make(data, steps, once=False) as thread:
        assert launcher.preparing.wait(60)
        stop = threading.Event()
        stop.set()
        thread.wait(stop)

    assert launcher.started == []
    assert names(data) == ["ds-000001", "ds-000002"]
