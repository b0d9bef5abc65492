"""Runs an ended training again, beside the models, and holds what comes of it against the first.

Nothing of the first training, and nothing of what `latest` points at, is touched.
"""

import hashlib
import threading
from pathlib import Path

import msgspec

from pairstream.training_diff import TrainingDiff, compare_trainings, read_outcome
from schemas.errors import PairstreamError
from schemas.settings import TrainingSettings
from trainer.base_model import base_model_of
from trainer.datasets import read_manifest
from trainer.image import kept_context, training_context
from trainer.launcher import Launcher, Plan
from trainer.layout import DataDir, write_durably
from trainer.progress import OnProgress
from trainer.publishing import OnStep
from trainer.training import TrainingRequest, run_training
from trainer.training_manifest import TrainingManifest, read_training

COMPARISON = "comparison.json"


class Reproduction(TrainingDiff, frozen=True, kw_only=True):
    """The comparison, and where what it compared lies; the keys of `reproduce --json`."""

    training_id: str
    folder: str
    reproduced: bool


def ended_training(data: DataDir, training_id: str) -> TrainingManifest:
    """Raises: PairstreamError when there is nothing to compare with."""
    manifest = read_training(data.models / training_id)
    if manifest is None:
        raise PairstreamError(f"{training_id} has not ended, or is not in {data.models}")
    if not manifest.succeeded:
        raise PairstreamError(f"{training_id} failed, so there is nothing to compare with")
    return manifest


def dataset_of(data: DataDir, manifest: TrainingManifest, named: Path | None) -> Path:
    """The folder that holds what it was trained on, by its hashes. Raises: PairstreamError."""
    folder = named or data.datasets / manifest.dataset
    if read_manifest(folder).hashes != manifest.dataset_sha256:
        raise PairstreamError(
            f"{folder} is not what {manifest.training_id} was trained on (SHA-256): name a folder "
            "that is by --dataset; `pairstream replay` rebuilds a dataset to the same bytes"
        )
    return folder.absolute()


def request_again(
    data: DataDir, manifest: TrainingManifest, dataset: Path, settings: TrainingSettings
) -> TrainingRequest:
    """Its next reproduction; one that has not come to its end is gone on with.

    Raises: PairstreamError when the base model, or the previous round's adapter, is gone, or the
    script that was kept is another one.
    """
    models = data.reproductions.absolute() / manifest.training_id
    number = 1
    while (models / str(number) / COMPARISON).exists():
        number += 1
    name = f"{manifest.training_id}-again-{number}"
    context = kept_context(data.models / manifest.training_id / "context", manifest.image_tag)
    plan = Plan(
        training_id=name,
        # A name of its own in the engine, so that no trainer takes it for one of its own.
        directory_id=hashlib.sha256(str(models).encode()).hexdigest()[:8],
        dataset=dataset,
        base_model=base_model_of(settings),
        folder=models / str(number),
        arguments=manifest.arguments,
        settings=msgspec.structs.replace(settings, gate="off", gate_command=""),
        context=context or training_context(),
        previous=manifest.previous,
        models=data.models.absolute(),
    )
    if plan.previous_adapter is not None and not plan.previous_adapter.is_dir():
        raise PairstreamError(f"{plan.previous_adapter}, with which it began, is gone: restore it")
    return TrainingRequest(str(number), plan.directory_id, dataset, models, plan)


def reproduce(
    data: DataDir,
    manifest: TrainingManifest,
    request: TrainingRequest,
    launcher: Launcher,
    *,
    tolerance: float,
    on_step: OnStep,
    on_progress: OnProgress,
) -> Reproduction:
    """Train again and compare; blocks until it has ended.

    Raises: PairstreamError when it cannot be trained, or fails.
    """
    first = read_outcome(data.models / manifest.training_id)
    assert request.plan is not None
    again = run_training(
        request,
        request.plan.settings,
        launcher,
        on_step=on_step,
        stop=threading.Event(),
        on_progress=on_progress,
    )
    if not again.succeeded:
        write_durably(request.folder / COMPARISON, b"null\n")  # the next try is another one
        raise PairstreamError(f"the training failed this time: {again.why}")
    diff = compare_trainings((manifest, first), (again, read_outcome(request.folder)), tolerance)
    found = Reproduction(
        training_id=manifest.training_id,
        folder=str(request.folder),
        reproduced=diff.same,
        **msgspec.structs.asdict(diff),
    )
    write_durably(
        request.folder / COMPARISON, msgspec.json.format(msgspec.json.encode(found)) + b"\n"
    )
    return found
