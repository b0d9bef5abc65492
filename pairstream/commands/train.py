"""`pairstream train`."""

import hashlib
import sys
import threading
from pathlib import Path
from typing import Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.errors import PairstreamError
from schemas.rows import LATEST_STEPS, TrainingStepName
from schemas.settings import TrainingSettings

ANSWER_SECONDS = 2.0


@click.command("train")
@click.argument("dataset", type=click.Path(path_type=Path, file_okay=False))
@click.option("--method", type=click.Choice(["dpo", "kto"]), default="dpo", show_default=True,
              help="dpo: on pairs. kto: on what `replay --from scored-rows --kind kto` "
              "made.")  # fmt: skip
@settings_options(TrainingSettings)
def command(dataset: Path, method: str, config_file: Path | None, **flags: Any) -> None:
    """Train once on one DATASET, now: a folder with a manifest, as the trainer or `replay` make it.

    The model goes to the data directory's models/, and becomes the latest if it passes the gate; a
    dataset that was trained before gets another training with the next number. Needs no broker;
    where one answers, the gate's verdict is told in the topic of trainings.

    \b
    Examples:
      pairstream train pairstream-data/datasets/ds-000001 --base-model ./models/qwen3-0.6b
      pairstream train --method kto ./for-kto --base-model ./models/qwen3-0.6b
    """
    from pairstream.logs import set_up_logs
    from pairstream.training_progress import ProgressShow
    from trainer.datasets import read_manifest
    from trainer.launcher import make_launcher
    from trainer.layout import DataDir
    from trainer.recipe import method_of, recipe_flags
    from trainer.training import TrainingRequest, run_training
    from trainer.trainings import training_id

    settings = load(TrainingSettings, config_file, flags)
    set_up_logs()
    if settings.launcher == "none":
        raise PairstreamError("PAIRSTREAM_LAUNCHER=none trains nothing: choose another")
    recipe_flags(settings)  # what cannot be is said before anything is made
    manifest = read_manifest(dataset)
    wanted = method_of(manifest)
    if wanted != method:
        raise click.UsageError(f"{dataset} is trained on with --method {wanted}, not {method}")
    data = DataDir(settings.data_dir.absolute())
    request = _next_request(
        TrainingRequest, training_id(manifest.name, wanted), _directory_id(data), dataset, data
    )

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


def _tell(settings: TrainingSettings, training_id: str, step: Any, dataset: Any, why: Any) -> None:
    from pairstream.promotion import reach_topic

    try:
        outbox = reach_topic(settings, wait_seconds=ANSWER_SECONDS)
        outbox.step(training_id, step, dataset, why)
    except PairstreamError as error:
        click.echo(f"not told in the topic of trainings: {error}", err=True)


def _directory_id(data: Any) -> str:
    """The trainer's name for the directory; where no trainer has worked, one of its path."""
    from trainer.source import read_source

    if data.source.exists():
        return read_source(data).id
    return hashlib.sha256(str(data.root).encode()).hexdigest()[:8]


def _next_request(make: Any, first: str, directory_id: str, dataset: Path, data: Any) -> Any:
    """The first training of the dataset that has not come to its end."""
    number = 1
    while True:
        name = first if number == 1 else f"{first}-{number}"
        request = make(name, directory_id, dataset.absolute(), data.models)
        if not request.is_done():
            return request
        number += 1
