"""`pairstream models list`, `show`, `promote`, `rollback`, `compare` and `merge`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.errors import PairstreamError
from schemas.settings import DataSettings, TrainingSettings

if TYPE_CHECKING:
    from pairstream.models import Model
    from pairstream.promotion import Changed
    from trainer.outbox import Outbox

json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object with the same facts."
)
why_option = click.option("--why", metavar="TEXT", help="Stands in the history and in the event.")
event_option = click.option(
    "--no-event", is_flag=True, help="Change it although no broker is there to be told."
)


@click.group("models")
def command() -> None:
    """List, show and compare models, and say which one is the latest.

    A training that passed its gate becomes the latest by itself: `models/latest` in the data
    directory points at it. `promote` and `rollback` point it elsewhere, by one rename; each change
    stands in `models/history.jsonl` and is a step in the topic of trainings. A running trainer is
    not disturbed. An ID is that of the training, or `latest`.
    """


@command.command("list")
@json_option
@settings_options(DataSettings)
def list_models(config_file: Path | None, as_json: bool, **flags: Any) -> None:
    """Show all models, oldest first: what the gate said, and which one is the latest.

    `trained on` counts pairs without those of the dataset that were held out.

    The keys of --json: latest; models (training_id, time, dataset, pairs that were trained on, gate
    with passed, pairs, note and checks, figures of the candidate, archive, is_latest,
    learnt_from_forgotten: whether it was trained on runs that were forgotten since); history
    (time, training_id, what, by, before, why).

    \b
    Example:
      pairstream models list
    """
    from pairstream.models import read_shelf
    from pairstream.models_text import shelf_lines
    from pairstream.terminal import as_json_text
    from trainer.layout import DataDir

    shelf = read_shelf(DataDir(load(DataSettings, config_file, flags).data_dir))
    click.echo(as_json_text(shelf) if as_json else "\n".join(shelf_lines(shelf)))


@command.command("show")
@click.argument("training_id", metavar="ID")
@json_option
@settings_options(DataSettings)
def show_model(config_file: Path | None, training_id: str, as_json: bool, **flags: Any) -> None:
    """Show all that is known of the model ID: its gate, figures, recipe, dataset and history.

    The keys of --json: is_latest, archive, manifest (as in the model's folder), dataset (its
    manifest, null where it lies elsewhere), history (the changes of latest that concern it),
    forgotten (by dataset, the runs that it learnt from and that were forgotten since).

    \b
    Example:
      pairstream models show latest
    """
    from pairstream.models_text import model_lines
    from pairstream.terminal import as_json_text

    model = _model(load(DataSettings, config_file, flags), training_id)
    click.echo(as_json_text(model) if as_json else "\n".join(model_lines(model)))


@command.command("compare")
@click.argument("first", metavar="ID")
@click.argument("second", metavar="ID")
@json_option
@settings_options(DataSettings)
def compare_models(
    config_file: Path | None, first: str, second: str, as_json: bool, **flags: Any
) -> None:
    """Show two models side by side: the gate's figures, and what differs in recipe and dataset.

    The keys of --json: models; same_held_out; figures, recipe and dataset, each by name with the
    value of the first and that of the second.

    \b
    Example:
      pairstream models compare latest dpo-ds-000007
    """
    from pairstream.models import compare
    from pairstream.models_text import comparison_lines
    from pairstream.terminal import as_json_text

    settings = load(DataSettings, config_file, flags)
    comparison = compare(_model(settings, first), _model(settings, second))
    click.echo(as_json_text(comparison) if as_json else "\n".join(comparison_lines(comparison)))


@command.command("promote")
@click.argument("training_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask, even where the gate refused it.")
@why_option
@event_option
@settings_options(DataSettings)
def promote(
    config_file: Path | None,
    training_id: str,
    yes: bool,
    why: str | None,
    no_event: bool,
    **flags: Any,
) -> None:
    """Make the model ID the latest, whatever the gate said of it.

    Its archive and its files are held against their hashes first. Where the gate refused it, it
    says why and asks, or wants --yes where there is no terminal. Asked for again, it changes
    nothing and tells it again.

    \b
    Example:
      pairstream models promote dpo-ds-000007 --why "the agents like it"
    """
    from pairstream.promotion import change_latest
    from trainer.layout import DataDir

    settings = load(DataSettings, config_file, flags)
    model = _model(settings, training_id)
    _confirm(model, yes=yes)
    outbox = _outbox(settings, no_event=no_event)
    _say(change_latest(DataDir(settings.data_dir), model, "promoted", why, outbox))


@command.command("rollback")
@click.option("--to", "training_id", metavar="ID", help="Back to this one; else to the last one.")
@why_option
@event_option
@settings_options(DataSettings)
def rollback(
    config_file: Path | None, training_id: str | None, why: str | None, no_event: bool, **flags: Any
) -> None:
    """Go back to the model that was the latest before, or to another one.

    Said twice, it goes back twice. What was rolled back stays on disk; `promote` brings it back.

    \b
    Examples:
      pairstream models rollback
      pairstream models rollback --to dpo-ds-000005 --why "loops on long tasks"
    """
    from pairstream.promotion import change_latest, rollback_target
    from trainer.layout import DataDir

    settings = load(DataSettings, config_file, flags)
    data = DataDir(settings.data_dir)
    model = _model(settings, training_id or rollback_target(data))
    outbox = _outbox(settings, no_event=no_event)
    _say(change_latest(data, model, "rolled_back", why, outbox))


@command.command("merge")
@click.argument("training_id", metavar="ID")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option("--base-model", metavar="FOLDER",
              help="The base, unquantised; else the one that the training was given.")  # fmt: skip
@click.option("--training-python", metavar="FILE",
              help="An interpreter with the training's packages; else the training's "
              "own.")  # fmt: skip
@settings_options(DataSettings)
def merge(config_file: Path | None, training_id: str, out: Path, **flags: Any) -> None:
    """Write the model ID as a whole model, merged into its base, for what serves no adapters.

    Merges in full precision, outside of 4 bits, in a process of its own, and saves in the base's
    precision, with tokenizer and chat template. The adapter stays as it is. The folder is whole or
    not there; its manifest.json, written last, names training, base and the hash of each file.

    \b
    Example:
      pairstream models merge latest --out ./for-serving
    """
    from pairstream.merging import merge_model
    from pairstream.new_folder import refuse_trainers_folders
    from trainer.layout import DataDir

    settings = load(TrainingSettings, config_file, flags)
    data = DataDir(settings.data_dir)
    refuse_trainers_folders(out, data)
    model = _model(settings, training_id)
    merged = merge_model(data, model.manifest, settings, out)
    click.echo(f"{merged.training_id} merged into {merged.base_model}: {out}")


def _model(settings: DataSettings, training_id: str) -> "Model":
    from pairstream.models import read_model
    from trainer.layout import DataDir

    return read_model(DataDir(settings.data_dir), training_id)


def _confirm(model: "Model", *, yes: bool) -> None:
    from pairstream.terminal import printable

    verdict, name = model.manifest.gate, model.manifest.training_id
    if verdict is None or verdict.passed:
        return
    told = f"the gate refused {name} ({printable(verdict.told)})"
    if yes:
        click.echo(told)
    elif is_terminal():
        click.confirm(f"{told}. Make it the latest all the same?", abort=True)
    else:
        raise PairstreamError(f"{told}: --yes promotes it all the same")


def is_terminal() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty()


def _outbox(settings: DataSettings, *, no_event: bool) -> "Outbox | None":
    from pairstream.promotion import reach_topic

    if no_event:
        return None
    try:
        return reach_topic(settings)
    except PairstreamError as error:
        raise PairstreamError(f"{error}; to change it without an event: --no-event") from error


def _say(changed: "Changed") -> None:
    if changed.before == changed.training_id:
        click.echo(f"{changed.training_id} is the latest already")
        return
    before = f", in place of {changed.before}" if changed.before else ""
    click.echo(f"{changed.training_id} is the latest now{before}")
