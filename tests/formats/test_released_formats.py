"""What every released version wrote can be read by this one, and means the same."""

import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.rows import parse_pair
from schemas.settings import TrainerSettings
from tests.formats.folder import (
    EXPECTED,
    FORMATS,
    OPEN_RUN,
    finish_open_run,
    open_and_settled,
    restored,
)
from trainer.datasets import read_manifest, verify_dataset
from trainer.index import PairIndex
from trainer.intake import Intake
from trainer.latest import read_history, read_latest
from trainer.layout import DataDir
from trainer.segments import list_segments, next_offsets, verify_segment
from trainer.source import read_source
from trainer.training_manifest import read_training

RELEASED = sorted(path for path in FORMATS.iterdir() if path.is_dir())


@pytest.fixture(params=RELEASED, ids=lambda path: path.name)
def released(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.param
    return folder


@pytest.fixture
def data(released: Path, tmp_path: Path) -> DataDir:
    """A copy, since readers may write to an index."""
    shutil.copytree(released / "data", tmp_path / "data", symlinks=True)
    return DataDir(tmp_path / "data")


def expected(released: Path) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((released / EXPECTED).read_bytes())
    return found


def test_the_first_version_is_among_them() -> None:
    assert "0.1.0" in {path.name for path in RELEASED}


def test_a_worker_takes_over_the_state(released: Path) -> None:
    open_runs, settled = open_and_settled(released)

    assert open_runs == expected(released)["open"]
    assert settled == expected(released)["settled"]
    assert len(settled) > 5


def test_an_open_run_goes_on_to_the_same_rows(released: Path) -> None:
    rows = finish_open_run(released)

    assert rows == expected(released)[f"rows of {OPEN_RUN}, finished"]
    assert len(rows) > 1


def test_a_settled_run_still_knows_what_it_has_seen(released: Path) -> None:
    """A redelivery is none of the dead letters; what is new is one."""
    [runs] = [runs for runs in restored(released) if "m-1" in runs.settled]
    marker, _ = runs.settled["m-1"]

    assert marker.settled_by == "finished"
    assert len(marker.digests) > 0


def test_segments_are_whole_and_hold_pairs(data: DataDir) -> None:
    segments = list_segments(data.segments)

    assert sum(segment.rows for segment in segments) > 5
    for segment in segments:
        verify_segment(data.segments, segment)
        lines = (data.segments / segment.path).read_bytes().splitlines()
        assert len([parse_pair(line) for line in lines]) == segment.rows


def test_the_index_knows_the_pairs(data: DataDir) -> None:
    segments = list_segments(data.segments)
    ids = [
        parse_pair(line).pair_id
        for segment in segments
        for line in (data.segments / segment.path).read_bytes().splitlines()
    ]
    index = PairIndex(data.index)
    index.catch_up(data.segments, segments)
    known = index.known([*ids, "f" * 32])
    index.close()

    assert known == set(ids)


def test_datasets_are_what_their_manifests_say(data: DataDir) -> None:
    names = data.dataset_names()

    assert names == ["ds-000001", "ds-000002"]
    for name in names:
        assert verify_dataset(data.datasets / name).name == name
    assert read_manifest(data.datasets / names[1]).parent == names[0]


def test_a_training_and_its_place_as_the_latest_are_known(data: DataDir) -> None:
    training = read_training(data.models / "dpo-ds-000001")

    assert training is not None
    assert training.succeeded
    assert training.dataset == "ds-000001"
    assert read_latest(data.models) == training.training_id
    assert [entry.training_id for entry in read_history(data.models)] == [training.training_id]


def test_a_trainer_goes_on_where_it_was(data: DataDir) -> None:
    source = read_source(data).source
    positions = next_offsets(list_segments(data.segments))
    settings = TrainerSettings(data_dir=data.root)
    starts = dict.fromkeys(range(source.partitions), 0)
    intake = Intake(data, settings, source, starts)
    try:
        assert intake.new_pairs == 1  # of m-4, which came after the second cut
        assert {p: o for p, o in intake.positions.items() if p in positions} == positions
    finally:
        intake.close()
