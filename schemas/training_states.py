"""The states of a training: which step may follow which. Pure.

A training's state is its last step, but for `progress`, which changes nothing, and for what is told
of `latest` after its end. Steps are told at least once: a trainer that was killed takes a training
up again at `requested` while it has no manifest, and at `gated` or `cleaned` when it has one.
"""

from collections.abc import Iterable

from schemas.rows import LATEST_STEPS, TrainingStepName

ENDED: frozenset[TrainingStepName] = frozenset({"succeeded", "failed"})

# From None: before its first step. Older trainers told neither `building`, `finished`,
# `gated`, `archived` nor `cleaned`, so their steps may be left out as well.
FOLLOWING: dict[TrainingStepName | None, frozenset[TrainingStepName]] = {
    None: frozenset({"requested"}),
    # `cleaned` and `failed`: it was cancelled before its script was started.
    "requested": frozenset({"building", "started", "cleaned", "failed"}),
    "building": frozenset({"requested", "started", "cleaned", "failed"}),
    "started": frozenset(
        {"requested", "progress", "finished", "cleaned", "promoted", "refused", "succeeded",
         "failed"}
    ),
    "finished": frozenset({"requested", "gated", "cleaned", "failed"}),
    "gated": frozenset({"archived"}),
    "archived": frozenset({"gated", "promoted", "refused", "cleaned"}),
    "promoted": frozenset({"gated", "cleaned", "succeeded"}),
    "refused": frozenset({"gated", "cleaned", "succeeded"}),
    "cleaned": frozenset({"gated", "succeeded", "failed"}),
    # Told, and killed before the trainer had noted it; or a person changed `latest`.
    "succeeded": frozenset({"gated", "cleaned", "promoted", "refused", "rolled_back"}),
    "failed": frozenset({"cleaned"}),
}  # fmt: skip


def may_follow(state: TrainingStepName | None, step: TrainingStepName) -> bool:
    """Whether a trainer may tell this step of a training in this state; any may be told twice."""
    return step == state or step in FOLLOWING[state]


def state_after(state: TrainingStepName | None, step: TrainingStepName) -> TrainingStepName:
    """The state that a step leads to. Takes any: what is told is believed."""
    if step == "progress":
        return state or "started"
    if step in LATEST_STEPS and (state in ENDED or step == "rolled_back"):
        return "succeeded"
    return step


def state_of(steps: Iterable[TrainingStepName]) -> TrainingStepName | None:
    """The state after all of them, oldest first; None where there is none."""
    state: TrainingStepName | None = None
    for step in steps:
        state = state_after(state, step)
    return state
