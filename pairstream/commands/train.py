"""`pairstream train`."""

from pathlib import Path
from typing import Any, Literal

import click

from pairstream.settings_loader import load, settings_options
from schemas.settings import TrainingSettings


@click.command("train")
@click.argument("dataset", type=click.Path(path_type=Path, file_okay=False))
@click.option("--method", type=click.Choice(["dpo", "kto"]), default="dpo", show_default=True,
              help="dpo: on pairs. kto: on what `replay --from scored-rows --kind kto` "
              "made.")  # fmt: skip
@settings_options(TrainingSettings)
def command(
    dataset: Path, method: Literal["dpo", "kto"], config_file: Path | None, **flags: Any
) -> None:
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
    from pairstream.train_now import train_now

    settings = load(TrainingSettings, config_file, flags)
    set_up_logs()
    train_now(settings, dataset, method)
