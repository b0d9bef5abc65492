"""`pairstream explain`."""

from pathlib import Path
from typing import Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.settings import DataSettings, WorkerSettings


@click.command("explain")
@click.argument("run_id")
@click.option("--full", is_flag=True, help="With all texts: prompts, strategies, codes, errors.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with the same facts.")
@click.option("--run-timeout-seconds", metavar="SECONDS",
              help="What the workers run with, where they were told so by a flag.")  # fmt: skip
@settings_options(DataSettings)
def command(config_file: Path | None, run_id: str, full: bool, as_json: bool, **flags: Any) -> None:
    """Show why the run RUN_ID gave the rows that it gave, or none.

    Its events in the log and what each did, its outcome with the reason, its scored rows and
    pairs, in which dataset each pair stands, and what was trained on that. Reads of each topic
    the one partition on which the run is; exit code 1 where nothing is known of it.

    The keys of --json: run_id; fate (state, taken_in, last_seen, missing) as its events tell it;
    expires_at; events (partition, offset, time, type, says, verdict, reason, detail, committed,
    dead_letter, content); dead_letters, as `dlt list` gives them; outcomes; scored_rows; pairs
    (with state, dataset: its name, file and trainings, and left_out: of which dataset, for which
    reason, and whether it waits); unreadable.

    \b
    Example:
      pairstream explain r-1 --full
    """
    from pairstream.pair_places import PairPlaces
    from pairstream.story import read_story
    from pairstream.story_text import story_lines
    from pairstream.terminal import as_json_text
    from trainer.layout import DataDir

    settings = load(WorkerSettings, config_file, flags)
    places = PairPlaces(DataDir(load(DataSettings, config_file, flags).data_dir))
    story = read_story(settings, run_id, places, full=full, progress=_progress)
    click.echo(as_json_text(story) if as_json else "\n".join(story_lines(story)))


def _progress(topic: str, done: int) -> None:
    click.echo(f"{done} records of {topic} read", err=True)
