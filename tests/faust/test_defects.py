"""The list of defects is whole: each has its test, or says why there can be none."""

import re
from pathlib import Path

import pytest

from tests.faust.defects import DEFECTS, Defect

ROOT = Path(__file__).parents[2]

# As they were found; more may be added, none taken away.
FOUND = {*(f"L{number}" for number in range(1, 12)), "D0", "D1"}

# What the cures need besides, and stock Faust has no part in.
ONLY_OURS = {
    "tests/faust/test_acknowledging.py::test_"
    "a_slow_topics_batches_are_smaller_and_nothing_waits_for_them",
    "tests/faust/test_committing.py::test_"
    "positions_that_come_when_the_next_rebalance_has_begun_move_nothing",
    "tests/faust/test_producing.py::test_a_worker_that_redacts_for_long_is_no_zombie",
    "tests/faust/test_group_coordinator.py::test_coordinator_that_knows_is_believed",
}


def test_no_defect_is_missing_or_listed_twice() -> None:
    ids = [defect.id for defect in DEFECTS]

    assert len(ids) == len(set(ids))
    assert set(ids) >= FOUND


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.id)
def test_defect_has_its_test_or_a_reason(defect: Defect) -> None:
    assert bool(defect.shown) != bool(defect.reason)
    if defect.shown:
        path, name = defect.shown.split("::")
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)


def test_every_test_of_both_shows_a_defect_of_the_list() -> None:
    shown = {defect.shown for defect in DEFECTS}
    tests = {
        f"tests/faust/{path.name}::{name}"
        for path in Path(__file__).parent.glob("test_*.py")
        if path != Path(__file__)
        for name in re.findall(r"^async def (test_\w+)\(", path.read_text(), re.MULTILINE)
    }

    assert tests - shown == ONLY_OURS
