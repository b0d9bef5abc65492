"""Tasks and age of the pairs that no cut has looked at, over restarts and cuts."""

import base64
import json
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from schemas.rows import Pair, encode
from schemas.settings import TrainerSettings, convert
from tests.commands.deployment import NOW as ENDED
from tests.commands.deployment import write_ended_training
from tests.trainer.fed_intake import FROM_ZERO, PAIRS, SOURCE, Refused, open_intake, records
from tests.trainer.intake_driver import FileConsumer, FileOutbox, NoTrainings
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import publish
from trainer.intake import Intake
from trainer.layout import DataDir
from trainer.moment import last_training, moment_of
from trainer.new_pairs import NewPairs
from trainer.service import serve
from trainer.traces import TrainerTraces
from trainer.vitals import TrainerVitals

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def of_task(pair: Pair, task_id: str | None) -> bytes:
    return encode(msgspec.structs.replace(pair, task_id=task_id))


def make_old(intake_root: Path, seconds: float) -> datetime:
    """All closed segments; returns the time."""
    at = NOW - timedelta(seconds=seconds)
    for path in (intake_root / "segments").rglob("*.jsonl"):
        os.utime(path, (at.timestamp(), at.timestamp()))
    return at


def test_tasks_are_counted_runs_without_one_as_their_own_over_restarts_until_a_cut(
    tmp_path: Path,
) -> None:
    pairs = [each for each in PAIRS if each.rule == "mixed_code"]
    assert len({pair.run_id for pair in pairs}) == len(pairs)
    values = [of_task(pair, task) for pair, task in zip(pairs, "aab", strict=False)]
    values.append(of_task(pairs[3], None))

    intake = open_intake(tmp_path, trigger_tasks=10)
    intake.take(records(values), Refused())
    assert intake.newcomers.tasks == 3
    intake.close_segments()
    intake.close()

    again = open_intake(tmp_path, trigger_tasks=10)
    assert again.newcomers.tasks == 3
    again.cut()
    assert (again.newcomers.tasks, again.newcomers.oldest_at) == (0, None)
    again.close()
    assert open_intake(tmp_path, trigger_tasks=10).newcomers.tasks == 0


def test_no_more_tasks_are_kept_than_are_asked_for() -> None:
    pairs = NewPairs(3)
    for number in range(100):
        pairs.add_pair(f"r-{number}", None)
    assert pairs.tasks == 3

    none_wanted = NewPairs(1)
    none_wanted.add_pair("r-1", "t-1")
    assert none_wanted.tasks == 0


def test_the_oldest_new_pair_is_as_old_as_its_segment_over_restarts(tmp_path: Path) -> None:
    intake = open_intake(tmp_path)
    values = [encode(pair) for pair in PAIRS]
    given = records(values)
    intake.take(given[:5], Refused())
    assert intake.newcomers.oldest_at is None  # none is safe on the disk yet
    intake.close_segments()
    at = make_old(tmp_path, 7200)
    intake.close()

    again = open_intake(tmp_path)
    again.take(given[5:], Refused())
    again.close_segments()

    assert again.newcomers.oldest_at == at


def test_a_segment_that_holds_no_pair_has_no_age(tmp_path: Path) -> None:
    intake = open_intake(tmp_path)
    intake.take(records([b"no pair", b"nor this"]), Refused())
    intake.close_segments()

    assert intake.newcomers.oldest_at is None


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    return publish(tmp_path, make_pairs(3))


def test_the_cooldown_counts_from_the_end_of_the_last_training(data: DataDir) -> None:
    assert last_training(DataDir(data.root / "empty"), launcher="docker") == (None, False)
    assert last_training(data, launcher="docker") == (None, True)
    cut_at, trains = last_training(data, launcher="none")
    assert (cut_at is not None, trains) == (True, False)
    write_ended_training(data, "dpo-ds-000001", "ds-000001", exit_code=1, why="for a test")
    assert last_training(data, launcher="docker") == (ENDED, False)


def test_files_are_read_only_for_a_policy_that_is_set(data: DataDir) -> None:
    off = TrainerSettings(data_dir=data.root, launcher="process")
    on = TrainerSettings(data_dir=data.root, launcher="process", trigger_cooldown_seconds=60.0)

    assert not moment_of(off, NewPairs(1), NOW).trains
    assert moment_of(on, NewPairs(1), NOW).trains


@pytest.mark.parametrize(
    ("policies", "datasets"),
    [
        ({}, []),
        ({"trigger_age_seconds": 1e-6}, ["ds-000001"]),
        ({"trigger_age_seconds": 1e-6, "trigger_tasks": 24}, ["ds-000001"]),
        ({"trigger_age_seconds": 1e-6, "trigger_tasks": 25}, []),
        ({"trigger_age_seconds": 86400.0}, []),
    ],
)
def test_the_trainer_goes_by_its_policies(
    policies: dict[str, float], datasets: list[str], tmp_path: Path
) -> None:
    """Of 24 runs come fewer pairs than it would wait for."""
    path = tmp_path / "records.jsonl"
    path.write_text("".join(
        json.dumps({"partition": o.partition, "offset": o.offset,
                    "value": base64.b64encode(value or b"").decode()}) + "\n"
        for o, _, _, value in records([encode(pair) for pair in PAIRS])
    ))  # fmt: skip
    settings = convert(
        {"data_dir": str(tmp_path), "launcher": "none", "segment_pairs": 4, **policies},
        TrainerSettings,
    )
    stop = threading.Event()
    intake = Intake(DataDir(tmp_path), settings, SOURCE, FROM_ZERO)
    consumer = FileConsumer(path, stop)
    consumer.start(intake.positions)
    outbox = FileOutbox(tmp_path / "refused")
    vitals = TrainerVitals(settings)
    serve(
        settings, consumer, intake, outbox, NoTrainings(),
        once=True, stop=stop, vitals=vitals, traces=TrainerTraces(),
    )  # fmt: skip

    assert DataDir(tmp_path).dataset_names() == datasets
