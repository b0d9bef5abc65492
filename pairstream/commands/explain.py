"""`pairstream explain`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.settings import DataSettings, WorkerSettings

if TYPE_CHECKING:
    from trainer.layout import DataDir


@click.command("explain")
@click.argument("run_id", metavar="RUN_ID|MODEL")
@click.option("--full", is_flag=True, help="With all texts: prompts, strategies, codes, errors; "
              "of a model, with all its runs.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object with the same facts.")
@click.option("--run", "is_run", is_flag=True, help="It is a run, whatever a model is called.")
@click.option("--run-timeout-seconds", metavar="SECONDS",
              help="What the workers run with, where they were told so by a flag.")  # fmt: skip
@settings_options(DataSettings)
def command(
    config_file: Path | None, run_id: str, full: bool, as_json: bool, is_run: bool, **flags: Any
) -> None:
    """Show why a run gave the rows that it gave, or none; or where a model comes from.

    Of a run: its events in the log and what each did, its outcome with the reason, its scored rows
    and pairs, in which dataset each pair stands, and the models that were trained on them. Reads
    of each topic the one partition on which the run is; exit code 1 where nothing is known of it.

    Of a model (the id of a training, or `latest`): its dataset with hashes, its pairs by rule,
    agent and policy, the runs behind them, its base and earlier rounds, and what it was made with.
    Reads the data directory only, and needs no broker.

    The keys of --json for a run: run_id; fate (state, taken_in, last_seen, missing) as its events
    tell it; expires_at; forgotten (since when, by `forget`); events (partition, offset, time,
    type, says, verdict, reason, detail, committed, dead_letter, content); dead_letters, as `dlt
    list` gives them; outcomes; scored_rows; pairs (with state, dataset: its name, file and
    trainings, and left_out: of which dataset, for which reason, and whether it waits); unreadable;
    models (training_id, dataset, pairs, through, is_latest).

    The keys of --json for a model: training_id; is_latest; ended; started_at; finished_at;
    base_model; dataset; dataset_sha256; lies_here (parent, topic, offsets, trained_on and held_out,
    each with pairs, rules, agents, policies, runs); rounds (training_id, how, dataset); launcher;
    image; image_tag; seed; device; versions; made_by (version, revision, changed); arguments.

    \b
    Examples:
      pairstream explain r-1 --full
      pairstream explain latest
    """
    from pairstream.lineage import find_training, read_lineage
    from pairstream.lineage_text import lineage_lines
    from pairstream.terminal import as_json_text
    from trainer.layout import DataDir

    data = DataDir(load(DataSettings, config_file, flags).data_dir)
    model = None if is_run else find_training(data, run_id)
    if model is None:
        _explain_run(load(WorkerSettings, config_file, flags), data, run_id, full, as_json)
        return
    lineage = read_lineage(data, model)
    click.echo(as_json_text(lineage) if as_json else "\n".join(lineage_lines(lineage, full=full)))


def _explain_run(
    settings: WorkerSettings, data: "DataDir", run_id: str, full: bool, as_json: bool
) -> None:
    from msgspec.structs import replace

    from pairstream.lineage import models_of_run
    from pairstream.pair_places import PairPlaces
    from pairstream.story import read_story
    from pairstream.story_text import story_lines
    from pairstream.terminal import as_json_text

    story = read_story(settings, run_id, PairPlaces(data), full=full, progress=_progress)
    story = replace(story, models=models_of_run(data, story.trained_on))
    click.echo(as_json_text(story) if as_json else "\n".join(story_lines(story)))


def _progress(topic: str, done: int) -> None:
    click.echo(f"{done} records of {topic} read", err=True)
