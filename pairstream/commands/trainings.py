"""`pairstream trainings list`, `show`, `logs`, `cancel` and `retry`."""

from pathlib import Path
from typing import Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.settings import DataSettings, TrainingSettings

json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object with the same facts."
)


@click.group("trainings")
def command() -> None:
    """List and show trainings, read their logs, cancel them, and have failed ones tried again.

    An ID is the name of a training's folder in the data directory's models/. All of it works from
    any process that sees the data directory, beside a running trainer, and needs no broker.
    """


@command.command("list")
@json_option
@settings_options(DataSettings)
def list_trainings(config_file: Path | None, as_json: bool, **flags: Any) -> None:
    """Show all trainings: state, dataset, model, the gate's verdict, age, and how long they took.

    The keys of --json: trainings, each with training_id, dataset, state (its last step), time (of
    that), detail, figures, archive, gate, exit_code, is_latest, requested_at, started_at,
    finished_at, interruptions, progress (step, steps and figures of a running one), waits (since,
    why) and is_cancelled.

    \b
    Example:
      pairstream trainings list
    """
    from datetime import UTC, datetime

    from pairstream.terminal import as_json_text
    from pairstream.training_facts import read_trainings
    from pairstream.training_text import list_lines
    from trainer.layout import DataDir

    trainings = list(read_trainings(DataDir(load(DataSettings, config_file, flags).data_dir)))
    if as_json:
        click.echo(as_json_text({"trainings": trainings}))
    else:
        click.echo("\n".join(list_lines(trainings, datetime.now(UTC))))


@command.command("show")
@click.argument("training_id", metavar="ID")
@json_option
@settings_options(DataSettings)
def show_training(config_file: Path | None, training_id: str, as_json: bool, **flags: Any) -> None:
    """Show the whole story of the training ID: each of its steps, what it waits for, how it ended.

    The keys of --json: folder, log, facts (as in the list), steps (time, step, detail; oldest
    first), manifest (as in the folder, null before it has ended).

    \b
    Example:
      pairstream trainings show dpo-ds-000007
    """
    from datetime import UTC, datetime

    from pairstream.terminal import as_json_text
    from pairstream.training_facts import read_story
    from pairstream.training_text import story_lines
    from trainer.layout import DataDir

    data = DataDir(load(DataSettings, config_file, flags).data_dir)
    story = read_story(data, training_id)
    lines = story_lines(story, datetime.now(UTC))
    click.echo(as_json_text(story) if as_json else "\n".join(lines))


@command.command("logs")
@click.argument("training_id", metavar="ID")
@click.option("--follow", "-f", is_flag=True, help="Go on until the training has ended.")
@settings_options(DataSettings)
def show_log(config_file: Path | None, training_id: str, follow: bool, **flags: Any) -> None:
    """Show what the script of the training ID has written: its training.log.

    Where its engine ended it and it was started again, the log begins anew, and --follow with it.
    Once the script has ended, --follow says on standard error what still goes on, and at last how
    the training has ended.

    \b
    Example:
      pairstream trainings logs dpo-ds-000007 --follow
    """
    from pairstream.terminal import printable
    from pairstream.training_acts import log_lines
    from trainer.layout import DataDir

    data = DataDir(load(DataSettings, config_file, flags).data_dir)

    def tell(text: str) -> None:
        click.echo(printable(text), err=True)

    for line in log_lines(data, training_id, follow=follow, tell=tell):
        click.echo(printable(line))


@command.command("cancel")
@click.argument("training_id", metavar="ID")
@click.option("--why", default="", metavar="TEXT", help="Stands in the manifest and in the event.")
@settings_options(DataSettings)
def cancel_training(config_file: Path | None, training_id: str, why: str, **flags: Any) -> None:
    """End the training ID before its time: it has failed then, with the reason `cancelled`.

    The wish lies in the training's folder, so it outlives this command and the trainer. Whoever
    trains ends the script within a second where it runs, removes the container, and goes on with
    the next dataset. A training that has ended, and is only being archived, is not cancelled.

    \b
    Example:
      pairstream trainings cancel dpo-ds-000007 --why "wrong base model"
    """
    from pairstream.training_acts import cancel
    from trainer.layout import DataDir

    click.echo(cancel(DataDir(load(DataSettings, config_file, flags).data_dir), training_id, why))


@command.command("retry")
@click.argument("training_id", metavar="ID")
@settings_options(TrainingSettings)
def retry_training(config_file: Path | None, training_id: str, **flags: Any) -> None:
    """Train once more on the dataset of the training ID, which failed, under the next number.

    It trains here and now, as `pairstream train` does, with the settings of now. What failed for
    its dataset or its base model (exit code 10) is refused while both are the same.

    \b
    Example:
      pairstream trainings retry dpo-ds-000007 --training-max-length 1024
    """
    from pairstream.logs import set_up_logs
    from pairstream.train_now import train_now
    from pairstream.training_acts import retriable
    from trainer.layout import DataDir

    settings = load(TrainingSettings, config_file, flags)
    set_up_logs()
    train_now(settings, retriable(DataDir(settings.data_dir), training_id, settings))
