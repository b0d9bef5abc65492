"""The steps of a training that succeeds, in the order in which they are told."""

from schemas.rows import TrainingStepName


def whole_life(
    verdict: TrainingStepName = "promoted", *, progress: bool = False
) -> list[TrainingStepName]:
    """`progress` is told by the trainer alone, of scripts that write metrics."""
    return [
        "requested", "building", "started", *(["progress"] if progress else []), "finished",
        "gated", "archived", verdict, "cleaned", "succeeded",
    ]  # fmt: skip


CANCELLED: list[TrainingStepName] = ["requested", "building", "started", "cleaned", "failed"]
