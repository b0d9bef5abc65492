"""`pairstream reproduce`."""

import sys
from pathlib import Path
from typing import Any

import click

from pairstream.number_range import NumberRange
from pairstream.settings_loader import load, settings_options
from schemas.errors import PairstreamError
from schemas.rows import TrainingStepName
from schemas.settings import DataSettings, TrainingSettings


@click.command("reproduce")
@click.argument("training_id", metavar="TRAINING_ID")
@click.option("--dataset", type=click.Path(path_type=Path, file_okay=False),
              help="Where the dataset lies, if not in the data directory.")  # fmt: skip
@click.option("--tolerance", type=NumberRange(min=0), default=0.0, metavar="NUMBER",
              help="A difference of two numbers that is none; 0: to the bit.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object with the same facts.")
@settings_options(TrainingSettings)
def command(
    config_file: Path | None,
    training_id: str,
    dataset: Path | None,
    tolerance: float,
    as_json: bool,
    **flags: Any,
) -> None:
    """Train TRAINING_ID (or `latest`) again, and say whether the same comes of it.

    On the dataset with the same hashes, the same base, previous adapter, arguments and script, by
    the same launcher and on the same kind of device, unless flags name others. It lies in the data
    directory's reproductions/, and changes no model. Then the figures of each step and the
    adapter's tensors are held against the first ones: exit code 0 where they are the same, 1 with
    what differs where they are not. On another machine the last bits may differ: --tolerance.

    The keys of --json: reproduced; training_id; folder; tolerance; steps (first, again); figures
    (name, step, first, again, largest); adapter (tensors, differing, largest); ran_otherwise, by
    name with both values.

    \b
    Examples:
      pairstream reproduce dpo-ds-000007
      pairstream reproduce latest --tolerance 1e-5 --launcher process
    """
    from pairstream.logs import set_up_logs
    from pairstream.models import resolve
    from pairstream.reproduction import dataset_of, ended_training, reproduce, request_again
    from pairstream.reproduction_text import reproduction_lines
    from pairstream.terminal import as_json_text
    from pairstream.training_progress import ProgressShow
    from trainer.latest import LATEST
    from trainer.launcher import make_launcher
    from trainer.layout import DataDir

    data = DataDir(load(DataSettings, config_file, flags).data_dir.absolute())
    name = resolve(data, LATEST) if training_id == LATEST else training_id
    manifest = ended_training(data, name)
    device = (manifest.figures or {}).get("device")
    same = {"launcher": manifest.launcher, "base_model": manifest.base_model,
            "training_device": device}  # fmt: skip
    given = {key: value for key, value in flags.items() if value is not None}
    settings = load(TrainingSettings, config_file, {**flags, **same, **given})
    if settings.launcher == "none":
        raise PairstreamError("PAIRSTREAM_LAUNCHER=none trains nothing: use docker or process")
    set_up_logs()
    request = request_again(data, manifest, dataset_of(data, manifest, dataset), settings)
    launcher = make_launcher(settings, data.training_venv)
    with ProgressShow(sys.stderr) as progress:

        def on_step(step: TrainingStepName, detail: str | None) -> None:
            progress.end_line()
            click.echo(f"{name}, again: {step}{f' ({detail})' if detail else ''}", err=True)

        found = reproduce(
            data, manifest, request, launcher,
            tolerance=tolerance, on_step=on_step, on_progress=progress.show,
        )  # fmt: skip
    click.echo(as_json_text(found) if as_json else "\n".join(reproduction_lines(found)))
    if not found.reproduced:
        raise PairstreamError(f"{name} was not reproduced: what differs stands above")
