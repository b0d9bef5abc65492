"""Killed at every step between a record and a published dataset, the next start repairs all."""

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.crash_points import VARIABLE
from tests.crash_points import crash_points
from tests.trainer.invariants import (
    all_lines,
    assert_datasets,
    assert_sound,
    datasets,
    left_out,
    snapshot,
    spread,
)
from tests.trainer.made_pairs import line, make_pairs

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).parents[2]
PARTITIONS = 2
PAIRS = make_pairs(36)
BAD = [b"", b"no pair", b"\xff\xfe", b'{"pair_id":"0"}']
# Each pair more than once, and bad records in the first segments and later ones.
VALUES = [line(pair)[:-1] for pair in (*PAIRS[:30], *PAIRS[10:], *PAIRS)]
VALUES[2:2], VALUES[16:16] = BAD[:2], BAD[2:]
RECORDS = spread(VALUES, PARTITIONS)
ENDS = {
    partition: 1 + max(offset for p, offset, _ in RECORDS if p == partition)
    for partition in range(PARTITIONS)
}

POINTS = crash_points("trainer.")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    path.write_text(
        "".join(
            json.dumps({"partition": p, "offset": o, "value": base64.b64encode(v).decode()}) + "\n"
            for p, o, v in RECORDS
        )
    )
    return path


def take_in(root: Path, records: Path, trigger: int, *more: str, crash_at: str = "") -> int:
    done = subprocess.run(
        [sys.executable, "-m", "tests.trainer.intake_driver", root, records, str(trigger), *more],
        env={**os.environ, VARIABLE: crash_at},
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def test_every_step_has_a_crash_point_of_its_own() -> None:
    assert len(POINTS) == len(set(POINTS))
    assert len(POINTS) >= 12


@pytest.mark.parametrize("passing", [1, 2])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_step_every_pair_still_stands_in_one_dataset_once(
    point: str, passing: int, tmp_path: Path, records: Path
) -> None:
    killed = take_in(tmp_path, records, 15, crash_at=f"{point}:{passing}")
    assert killed == -signal.SIGKILL
    assert_datasets(tmp_path)
    published = snapshot(tmp_path)

    assert take_in(tmp_path, records, 1, "--once") == 0

    assert_sound(tmp_path, ends=ENDS)
    assert sorted(all_lines(tmp_path)) == sorted(map(line, PAIRS))
    assert snapshot(tmp_path).items() >= published.items()
    assert refused(tmp_path) == {(p, o) for p, o, value in RECORDS if value in BAD}


@pytest.mark.parametrize("passing", [1, 2])
@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("trainer.cut_")])
def test_killed_at_a_cut_that_leaves_pairs_out_none_is_lost(
    point: str, passing: int, tmp_path: Path, records: Path
) -> None:
    killed = take_in(tmp_path, records, 15, "--curated", crash_at=f"{point}:{passing}")
    assert killed == -signal.SIGKILL
    assert_datasets(tmp_path)
    published = snapshot(tmp_path)

    assert take_in(tmp_path, records, 1, "--once", "--curated") == 0

    assert_sound(tmp_path, ends=ENDS)
    assert snapshot(tmp_path).items() >= published.items()
    waiting = {each["pair_id"] for each in left_out(datasets(tmp_path)[-1])}
    assert waiting
    assert sorted(all_lines(tmp_path)) == sorted(
        line(pair) for pair in PAIRS if pair.pair_id not in waiting
    )


def test_without_a_kill_a_stream_is_cut_more_than_once(tmp_path: Path, records: Path) -> None:
    assert take_in(tmp_path, records, 15) == 0

    assert_sound(tmp_path, ends=ENDS)
    assert len(all_lines(tmp_path)) >= 30
    assert {json.loads(one)["pair_id"] for one in all_lines(tmp_path)} <= {
        pair.pair_id for pair in PAIRS
    }


def refused(root: Path) -> set[tuple[int, int]]:
    """Where the records came from that were made dead letters, some perhaps twice."""
    told = [each.split() for each in (root / "refused").read_text().splitlines()]
    assert {reason for _, _, reason in told} == {"invalid_row"}
    return {(int(partition), int(offset)) for partition, offset, _ in told}
