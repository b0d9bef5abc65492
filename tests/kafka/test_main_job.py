"""Recorded runs through ingest, worker and trainer, which are killed at every step on the way."""

import hashlib
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.topics import PAIRS, RUN_OUTCOMES, SCORED_ROWS
from tests.conftest import Pairstream
from tests.crash_points import crash_points
from tests.kafka.deaths import CRASH_POINT, KILLED, die_at
from tests.kafka.services import Deployment

pytestmark = pytest.mark.kafka

RUNS, SCORED, PAIRED, NEVER_SUCCEEDED, PAIRS_IN_ALL = 164, 862, 157, 7, 209
TRIGGER = 60


@pytest.mark.timeout(900)
def test_recorded_runs_come_out_whole_although_worker_and_trainer_die_at_every_step(
    deployment: Deployment, recorded_runs: Path, pairstream: Pairstream
) -> None:
    _settle_with_deaths(deployment, recorded_runs, pairstream)
    _check_rows(deployment)

    _take_in_with_deaths(deployment)
    datasets = sorted((deployment.folder / "data" / "datasets").iterdir())
    live = [line for dataset in datasets for line in _lines(dataset)]
    ids = [orjson.loads(line)["pair_id"] for line in live]
    assert len(ids) == len(set(ids))

    _rebuild(deployment, pairstream, live)


def _settle_with_deaths(
    deployment: Deployment, recorded_runs: Path, pairstream: Pairstream
) -> None:
    points = crash_points("worker.")
    slices = _slices(recorded_runs.read_bytes().splitlines(keepends=True), len(points) + 1)
    for point, lines in itertools.zip_longest(points, slices):
        part = deployment.folder / "part.jsonl"
        part.write_bytes(b"".join(lines))
        pairstream("ingest", part, env=deployment.environment)
        if point is not None:
            die_at(deployment, point)
    with deployment.running("worker") as worker:
        worker.wait_until(lambda: _settled(deployment) == RUNS, "every run's outcome")
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.stop() == 0, worker.log


def _slices(lines: list[bytes], count: int) -> list[list[bytes]]:
    """Parts of about equal size; a run may be cut in two."""
    bounds = [len(lines) * number // count for number in range(count + 1)]
    return [lines[start:end] for start, end in itertools.pairwise(bounds)]


def _settled(deployment: Deployment) -> int:
    return len({row["run_id"] for row in deployment.rows(RUN_OUTCOMES)})


def _check_rows(deployment: Deployment) -> None:
    outcomes = _distinct(deployment.rows(RUN_OUTCOMES), "run_id")
    reasons = Counter(row["reason"] for row in outcomes)
    assert reasons == {None: PAIRED, "never_succeeded": NEVER_SUCCEEDED}
    assert len(_distinct(deployment.rows(SCORED_ROWS), "row_id")) == SCORED
    assert len(_distinct(deployment.rows(PAIRS), "pair_id")) == PAIRS_IN_ALL


def _distinct(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Rows by id; a row that came twice must be the same to the byte."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        assert found.setdefault(row[key], row) == row
    return list(found.values())


def _take_in_with_deaths(deployment: Deployment) -> None:
    """Small segments and datasets, so that every step is passed; then what is left."""
    small = {"trigger_pairs": str(TRIGGER), "segment_pairs": "20"}
    points = crash_points("trainer.")
    assert points
    for point in points:
        with deployment.running(
            "trainer", "--once", "--launcher", "none", **small, **{CRASH_POINT: point}
        ) as trainer:
            # One that found nothing left to do at that step ends well.
            assert trainer.await_end() in (KILLED, 0), trainer.log
    with deployment.running(
        "trainer", "--once", "--launcher", "none", trigger_pairs="1"
    ) as trainer:
        assert trainer.await_end() == 0, trainer.log


def _lines(dataset: Path) -> list[bytes]:
    return [
        line
        for name in ("train.jsonl", "eval.jsonl")
        for line in (dataset / name).read_bytes().splitlines(keepends=True)
    ]


def _rebuild(deployment: Deployment, pairstream: Pairstream, live: list[bytes]) -> None:
    """One dataset of all pairs, live and from either topic: the same bytes."""
    pairs = {"PAIRSTREAM_TRIGGER_PAIRS": str(PAIRS_IN_ALL), "PAIRSTREAM_LAUNCHER": "none"}
    fresh = {**deployment.environment, **pairs, "PAIRSTREAM_DATA_DIR": "fresh"}
    pairstream("trainer", "--once", env=fresh)
    folder = deployment.folder
    hashes = _hashes(folder / "fresh" / "datasets" / "ds-000001")
    for source in ("pairs", "events"):
        pairstream("replay", "--from", source, "--out", source, env=deployment.environment)
        assert _hashes(folder / source) == hashes
    assert sorted(_lines(folder / "pairs")) == sorted(live)
    assert len(live) == PAIRS_IN_ALL


def _hashes(dataset: Path) -> list[str]:
    return [
        hashlib.sha256((dataset / name).read_bytes()).hexdigest()
        for name in ("train.jsonl", "eval.jsonl")
    ]
