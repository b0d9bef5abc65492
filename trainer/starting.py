"""The start of a training's script, and the record of it: by that a successor goes on."""

from datetime import UTC, datetime
from typing import NoReturn

import msgspec

from schemas.crash_points import crash_point
from schemas.errors import PairstreamError
from trainer.datasets import DatasetManifest
from trainer.launcher import Ended, EngineUnavailable, Launcher, Plan
from trainer.training_manifest import STARTED, Started, read_started, write_started


def start(plan: Plan, dataset: DatasetManifest, launcher: Launcher, image: str) -> Started:
    """Start it, or find it started; returns the record of its first start.

    Raises: PairstreamError when it was started elsewhere, where we cannot see how it goes.
    """
    known = known_start(plan, launcher)
    started = known or first_start(plan, dataset, launcher, image)
    if known is None:
        write_started(plan.folder, started)
    crash_point("training.recorded")
    try:
        launcher.start(plan)
    except EngineUnavailable:
        if known is None:  # its time does not run yet
            (plan.folder / STARTED).unlink()
        raise
    return started


def known_start(plan: Plan, launcher: Launcher) -> Started | None:
    """The record of its first start, if there was one.

    Raises: PairstreamError when it was started elsewhere, where we cannot see how it goes.
    """
    known = read_started(plan.folder)
    if known is not None and known.launcher != launcher.name:
        raise PairstreamError(
            f"{plan.training_id} was started by PAIRSTREAM_LAUNCHER={known.launcher}: let it end "
            "there"
        )
    return known


def refuse_another_dataset(plan: Plan, dataset: DatasetManifest) -> None:
    """A name alone does not tell datasets apart that `pairstream replay` made.

    Raises: PairstreamError where it goes on that was started on another one.
    """
    known = read_started(plan.folder)
    if known is not None and known.dataset_sha256 not in (None, dataset.hashes):
        raise PairstreamError(
            f"{plan.training_id} has not ended, and was started on another dataset of the name "
            f"{dataset.name} (SHA-256): restore that one, or give the training up by `pairstream "
            f"trainings cancel {plan.training_id}` and train twice: once to end it, once anew"
        )


def first_start(plan: Plan, dataset: DatasetManifest, launcher: Launcher, image: str) -> Started:
    return Started(
        at=datetime.now(UTC),
        launcher=launcher.name,
        image=image,
        image_tag=plan.context.tag,
        base_model=str(plan.settings.base_model),
        arguments=plan.arguments,
        previous=plan.previous,
        dataset_sha256=dataset.hashes,
    )


def put_back(
    plan: Plan, launcher: Launcher, started: Started, ended: Ended, *, most: int
) -> NoReturn:
    """Have the next try start it again. Raises: EngineUnavailable."""
    launcher.clean_up(plan)
    crash_point("training.put_back")
    times = started.interruptions + 1
    write_started(
        plan.folder, msgspec.structs.replace(started, at=datetime.now(UTC), interruptions=times)
    )
    raise EngineUnavailable(
        f"{plan.training_id} was interrupted ({times} of at most {most} times): "
        f"{ended.why}; the next try goes on from its last checkpoint"
    )
