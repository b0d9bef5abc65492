"""`pairstream replay`."""

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import click

from pairstream.moments import MomentType
from pairstream.settings_loader import load, settings_options
from schemas.settings import DatasetSettings, GarblingSettings

ANEW = (
    "the model garbles anew, and may say something else than it said to the worker: only "
    "`replay --from pairs` gives the bytes of the live dataset"
)


@click.command("replay")
@click.option("--from", "source", type=click.Choice(["events", "pairs"]), required=True,
              help="events: fold the runs again, by the pairing settings given.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option("--since", type=MomentType(), metavar="TIME",
              help="Only records from this time on: 2026-11-24, 2026-11-24T21:30:00Z (UTC "
              "without a zone), or so long ago: 2h, 7d.")  # fmt: skip
@click.option("--dataset", type=click.Path(path_type=Path, file_okay=False),
              help="With --from pairs: only the offsets of this published dataset.")  # fmt: skip
@settings_options(GarblingSettings, DatasetSettings)
def command(
    config_file: Path | None,
    source: Literal["events", "pairs"],
    out: Path,
    since: datetime | None,
    dataset: Path | None,
    **flags: Any,
) -> None:
    """Rebuild a dataset from a topic, from its beginning to its end now.

    Touches no consumer group and no live file. The same pairs give the same bytes as the live
    dataset's. From events, a model that garbles (high_temperature) is asked anew, and may say
    something else.

    \b
    Example:
      pairstream replay --from events --out rebuilt --pairing-extended
    """
    from pairstream.cluster import Cluster
    from pairstream.rebuild import Wanted, rebuild
    from pairstream.terminal import show_progress
    from schemas.topics import PAIRS, RUN_EVENTS, Names
    from trainer.datasets import read_manifest

    if dataset is not None and (source != "pairs" or since is not None):
        raise click.UsageError("--dataset goes with --from pairs and without --since")
    pairing = load(GarblingSettings, config_file, flags)
    fraction = load(DatasetSettings, config_file, flags).eval_fraction
    like = read_manifest(dataset) if dataset else None
    if like is not None:
        fraction = like.settings["eval_fraction"]
    names = Names(pairing.topic_prefix)
    topic = names.topic(PAIRS if source == "pairs" else RUN_EVENTS)
    [described] = Cluster(pairing).describe(topic)
    if source == "events" and pairing.garbler != "corrupt":
        click.echo(ANEW, err=True)
    wanted = Wanted(source, pairing, described, fraction, since, like)
    click.echo(rebuild(wanted, out, show_progress))
