"""`pairstream status`."""

from pathlib import Path
from typing import Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.errors import PairstreamError
from schemas.settings import DataSettings, TrainerSettings

ANSWER_SECONDS = 2.0
NEWEST = 20_000


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with the same facts.")
@click.option("--newest", type=click.IntRange(min=0), default=NEWEST, metavar="RECORDS",
              show_default=True, help="How many records of a topic to read at most.")  # fmt: skip
@click.option("--trigger-pairs", metavar="PAIRS",
              help="What the trainer waits for, where it was told so by a flag.")  # fmt: skip
@settings_options(DataSettings)
def command(config_file: Path | None, as_json: bool, newest: int, **flags: Any) -> None:
    """Show on one screen: topics, lags, runs, pairs, datasets and trainings.

    Counts of records come from offsets. Open runs, outcomes by reason and pairs by rule come from
    the newest records of their topics, and say so where that is not all of them. Datasets, new
    pairs and models come from the data directory. Reads only: no group, no file is touched. Where
    no broker answers, it shows the data directory, and the exit code is 1.

    The keys of --json: bootstrap_servers; cluster (null where no broker answers) with topics
    (name, partitions, records), worker (group, members, lag by topic), trainer (position_from,
    lag, note), and open_runs, outcomes and pairs (counts, read, records); data_dir (path, exists,
    source, positions, new_pairs, new_rules, waiting, datasets, latest); next_dataset (new_pairs,
    trigger_pairs, missing_pairs, held_back, waits with policy and why); trainings (as in
    `pairstream trainings list --json`).

    \b
    Example:
      pairstream status --json | jq .next_dataset.missing_pairs
    """
    settings = load(TrainerSettings, config_file, flags)
    if not as_json:
        click.echo(f"pairstream at {settings.bootstrap_servers}, data in {settings.data_dir}")

    from pairstream.cluster import Cluster
    from pairstream.overview import read_overview
    from pairstream.overview_text import overview_lines
    from pairstream.terminal import as_json_text

    cluster = Cluster(settings)
    silence = None
    try:
        cluster.partitions(wait_seconds=ANSWER_SECONDS)
    except PairstreamError as error:
        silence = error
    overview = read_overview(settings, None if silence else cluster, newest=newest)
    if as_json:
        click.echo(as_json_text(overview))
    else:
        click.echo("\n".join(overview_lines(overview)))
    if silence is not None:
        raise silence
