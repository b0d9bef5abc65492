"""`pairstream status`."""

from pathlib import Path
from typing import Any

import click

from pairstream.number_range import NumberRange
from pairstream.settings_loader import load, settings_options
from schemas.settings import DataSettings, TrainerSettings

ANSWER_SECONDS = 2.0
NEWEST = 20_000
WATCH_SECONDS = 2.0


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with the same facts.")
@click.option("--newest", type=click.IntRange(min=0), default=NEWEST, metavar="RECORDS",
              show_default=True, help="How many records of a topic to read at most.")  # fmt: skip
@click.option("--trigger-pairs", metavar="PAIRS",
              help="What the trainer waits for, where it was told so by a flag.")  # fmt: skip
@click.option("--watch", is_flag=False, flag_value=str(WATCH_SECONDS),
              type=NumberRange(min=0.1, max=86400), metavar="[SECONDS]",
              help=f"Look again every so often, {WATCH_SECONDS:g} s where no time is given; Ctrl-C "
              "ends it.")  # fmt: skip
@click.option("-n", "--number", type=click.IntRange(min=1), metavar="LOOKS",
              help="With --watch: end after so many looks.")  # fmt: skip
@settings_options(DataSettings)
def command(
    config_file: Path | None,
    as_json: bool,
    newest: int,
    watch: float | None,
    number: int | None,
    **flags: Any,
) -> None:
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

    --watch draws the screen anew on a terminal, and writes a line a look elsewhere; with --json an
    object a line, with the time and, where no broker answers, error, which says why.

    \b
    Examples:
      pairstream status --watch 5
      pairstream status --json | jq .next_dataset.missing_pairs
    """
    if number is not None and watch is None:
        raise click.UsageError("-n counts the looks of --watch: give both")
    settings = load(TrainerSettings, config_file, flags)
    if not as_json and watch is None:
        click.echo(_head(settings))

    from pairstream.cluster import Cluster
    from pairstream.overview_text import overview_lines
    from pairstream.stopping import until_stopped
    from pairstream.terminal import as_json_text
    from pairstream.watching import look, watch_status

    cluster = Cluster(settings)
    if watch is not None:
        with until_stopped():
            watch_status(
                lambda: look(settings, cluster, newest=newest, wait_seconds=ANSWER_SECONDS),
                head=_head(settings),
                as_json=as_json,
                seconds=watch,
                looks=number,
            )
        return
    overview, silence = look(settings, cluster, newest=newest, wait_seconds=ANSWER_SECONDS)
    click.echo(as_json_text(overview) if as_json else "\n".join(overview_lines(overview)))
    if silence is not None:
        raise silence


def _head(settings: TrainerSettings) -> str:
    return f"pairstream at {settings.bootstrap_servers}, data in {settings.data_dir}"
