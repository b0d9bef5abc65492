"""Which step of a training may follow which: the table, and what holds of every way through it."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rows import TrainingStepName
from schemas.training_states import ENDED, FOLLOWING, may_follow, state_after, state_of
from tests.trainer.lives import CANCELLED, whole_life

STEPS: tuple[TrainingStepName, ...] = get_args(TrainingStepName)

LIVES: dict[str, tuple[list[TrainingStepName], TrainingStepName]] = {
    "passed": (whole_life(progress=True), "succeeded"),
    "refused": (whole_life("refused"), "succeeded"),
    "cancelled": (CANCELLED, "failed"),
    "cancelled before it was taken up": (["requested", "cleaned", "failed"], "failed"),
    "failed": (
        ["requested", "building", "started", "progress", "progress", "finished", "cleaned",
         "failed"],
        "failed",
    ),
    "the engine was away": (["requested", "building", "requested", *whole_life()], "succeeded"),
    "interrupted": (["requested", "building", "started", "progress", *whole_life()], "succeeded"),
    "killed before the manifest": (
        ["requested", "building", "started", "finished", *whole_life()], "succeeded"
    ),
    "killed behind the manifest": ([*whole_life()[:6], *whole_life()[4:]], "succeeded"),
    "killed before it was noted that it had ended": (
        [*whole_life(), *whole_life()[4:]], "succeeded"
    ),
    "each step told twice": ([s for step in whole_life() for s in (step, step)], "succeeded"),
    "of an older trainer": (["requested", "started", "promoted", "succeeded"], "succeeded"),
    "of an older trainer, failed": (["requested", "started", "failed"], "failed"),
    "latest was changed since": (
        [*whole_life("refused"), "promoted", "rolled_back", "promoted"], "succeeded"
    ),
    "a person changed latest in between": (
        [s for s in whole_life() if s != "promoted"], "succeeded"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("life", "state"), LIVES.values(), ids=LIVES)
def test_a_life_that_can_be_is_allowed_and_comes_to_its_end(
    life: list[TrainingStepName], state: TrainingStepName
) -> None:
    at: TrainingStepName | None = None
    for step in life:
        assert may_follow(at, step), (at, step)
        at = state_after(at, step)

    assert at == state == state_of(life)


@pytest.mark.parametrize(
    ("state", "step"),
    [
        (None, "started"),
        (None, "succeeded"),
        ("requested", "finished"),
        ("requested", "gated"),
        ("building", "progress"),
        ("finished", "archived"),
        ("gated", "succeeded"),
        ("succeeded", "requested"),
        ("succeeded", "failed"),
        ("failed", "requested"),
        ("failed", "succeeded"),
        ("failed", "promoted"),
    ],
)
def test_what_cannot_follow_is_not_allowed(
    state: TrainingStepName | None, step: TrainingStepName
) -> None:
    assert not may_follow(state, step)


def reachable(state: TrainingStepName | None) -> set[TrainingStepName]:
    found: set[TrainingStepName] = set()
    new = set(FOLLOWING[state])
    while new:
        found |= new
        new = {after for step in new for after in FOLLOWING.get(step, frozenset())} - found
    return found


def test_the_table_names_every_state_and_every_step() -> None:
    assert set(FOLLOWING) - {None} == set(STEPS) - {"progress", "rolled_back"}
    assert reachable(None) == set(STEPS)


@pytest.mark.parametrize("state", [state for state in FOLLOWING if state not in ENDED])
def test_an_end_can_be_reached_from_every_state(state: TrainingStepName | None) -> None:
    assert reachable(state) & ENDED


@pytest.mark.parametrize("state", ["gated", "archived", "cleaned", "succeeded", "failed"])
def test_what_has_a_manifest_is_never_started_again(state: TrainingStepName) -> None:
    assert reachable(state).isdisjoint({"requested", "building", "started", "progress"})


@pytest.mark.parametrize("step", ["gated", "archived"])
def test_what_failed_is_never_published(step: TrainingStepName) -> None:
    """`cleaned` alone is a way of both; so the way back from it is left out."""
    assert step not in FOLLOWING["failed"]


# The same examples every time: no test may depend on luck.
@settings(deadline=None, derandomize=True, database=None)
@given(st.data())
def test_a_walk_by_the_table_is_read_back_as_the_state_where_it_ends(data: st.DataObject) -> None:
    state: TrainingStepName | None = None
    told: list[TrainingStepName] = []
    for _ in range(data.draw(st.integers(1, 25))):
        step = data.draw(st.sampled_from(sorted(FOLLOWING[state])))
        told.append(step)
        state = state_after(state, step)
        if data.draw(st.booleans()):  # told twice
            told.append(step)
            assert state_after(state, step) == state
        assert state in FOLLOWING

    assert state_of(told) == state


@settings(deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from(STEPS), max_size=12))
def test_whatever_was_told_leads_to_a_state(told: list[TrainingStepName]) -> None:
    assert state_of(told) in FOLLOWING
