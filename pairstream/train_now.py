"""One training of one dataset, now, in this process: `train`, and `trainings retry`."""

import sys
import threading
from pathlib import Path

import click

from pairstream.forgotten_text import marked_warning
from pairstream.promotion import reach_topic
from pairstream.training_progress import ProgressShow
from schemas.errors import PairstreamError
from schemas.rows import LATEST_STEPS, TrainingStepName
from schemas.settings import TrainingSettings
from trainer.datasets import DatasetManifest, read_manifest
from trainer.launcher import make_launcher
from trainer.layout import DataDir
from trainer.recipe import Method, method_of, recipe_flags
from trainer.source import directory_id
from trainer.training import TrainingRequest, run_training
from trainer.trainings import training_id

ANSWER_SECONDS = 2.0


def train_now(settings: TrainingSettings, dataset: Path, method: Method | None = None) -> None:
    """Train and tell how it goes; blocks until it has ended.

    Args:
        method: by which it must be; none: as the dataset wants it.

    Raises: PairstreamError, also when the training failed; click.UsageError for another method.
    """
    if settings.launcher == "none":
        raise PairstreamError("PAIRSTREAM_LAUNCHER=none trains nothing: choose another")
    recipe_flags(settings)  # what cannot be is said before anything is made
    manifest = read_manifest(dataset)
    wanted = method_of(manifest)
    if method not in (None, wanted):
        raise click.UsageError(f"{dataset} is trained on with --method {wanted}, not {method}")
    data = DataDir(settings.data_dir.absolute())
    if (warning := marked_warning(data, dataset)) is not None:
        click.echo(warning, err=True)
    request = _next_request(training_id(manifest.name, wanted), directory_id(data), dataset, data)
    launcher = make_launcher(settings, data.training_venv)
    with ProgressShow(sys.stdout) as progress:

        def on_step(step: TrainingStepName, detail: str | None) -> None:
            progress.end_line()
            click.echo(f"{request.training_id}: {step}{f' ({detail})' if detail else ''}")
            if step in LATEST_STEPS:
                _tell(settings, request.training_id, step, manifest, detail)

        result = run_training(
            request,
            settings,
            launcher,
            on_step=on_step,
            stop=threading.Event(),
            on_progress=progress.show,
        )
    if not result.succeeded:
        raise PairstreamError(f"{request.training_id} failed: {result.why}")
    click.echo(f"model: {request.folder}\narchive: {request.archive}")


def _tell(
    settings: TrainingSettings,
    training: str,
    step: TrainingStepName,
    dataset: DatasetManifest,
    why: str | None,
) -> None:
    try:
        outbox = reach_topic(settings, wait_seconds=ANSWER_SECONDS)
        outbox.step(training, step, dataset, why)
    except PairstreamError as error:
        click.echo(f"not told in the topic of trainings: {error}", err=True)


def _next_request(first: str, directory: str, dataset: Path, data: DataDir) -> TrainingRequest:
    """The first training of the dataset that has not come to its end."""
    number = 1
    while True:
        name = first if number == 1 else f"{first}-{number}"
        request = TrainingRequest(name, directory, dataset.absolute(), data.models)
        if not request.is_done():
            return request
        number += 1
