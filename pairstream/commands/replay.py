"""`pairstream replay`."""

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import click

from pairstream.moments import MomentType
from pairstream.settings_loader import load, settings_options
from schemas.errors import PairstreamError
from schemas.settings import DatasetSettings, GarblingSettings

ANEW = (
    "the model garbles anew, and may say something else than it said to the worker: only "
    "`replay --from pairs` gives the bytes of the live dataset"
)


@click.command("replay")
@click.option("--from", "source", required=True,
              type=click.Choice(["events", "pairs", "scored-rows"]),
              help="events: fold the runs again, by the pairing settings given. scored-rows: for "
              "what trains without pairs.")  # fmt: skip
@click.option("--kind", type=click.Choice(["kto", "groups"]),
              help="With --from scored-rows: kto: each response by itself, labelled good or bad. "
              "groups: all responses to a prompt with their scores.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option("--since", type=MomentType(), metavar="TIME",
              help="Only records from this time on: 2026-11-24, 2026-11-24T21:30:00Z (UTC "
              "without a zone), or so long ago: 2h, 7d.")  # fmt: skip
@click.option("--dataset", type=click.Path(path_type=Path, file_okay=False),
              help="With --from pairs: only the candidates of this published dataset, by its "
              "settings: pairs in its offsets, and those that had waited.")  # fmt: skip
@settings_options(GarblingSettings, DatasetSettings)
def command(
    config_file: Path | None,
    source: Literal["events", "pairs", "scored-rows"],
    kind: Literal["kto", "groups"] | None,
    out: Path,
    since: datetime | None,
    dataset: Path | None,
    **flags: Any,
) -> None:
    """Rebuild a dataset from a topic, from its beginning to its end now.

    Touches no consumer group and no live file; --out lies in no folder of the trainer's. The same
    pairs give the same bytes as the live dataset's, by the settings that were given to the trainer.
    From events, a model that garbles (high_temperature) is asked anew, and may say something else.
    Of the settings of a dataset, scored rows go by --eval-fraction and --held-out-by alone. Runs
    that were forgotten in the data directory (`pairstream forget`) are left out. Exit code 1 where
    some could not be redacted: they are left out too. With --dataset the topic must be the one that
    the dataset was cut from, and it is said at the end whether the bytes are the same.

    \b
    Examples:
      pairstream replay --from events --out rebuilt --pairing-extended
      pairstream replay --from scored-rows --kind kto --out for-kto
    """
    from pairstream.candidates import candidates_of
    from pairstream.cluster import Cluster
    from pairstream.new_folder import refuse_trainers_folders
    from pairstream.rebuild import Wanted, rebuild
    from pairstream.terminal import show_progress
    from schemas.topics import PAIRS, RUN_EVENTS, SCORED_ROWS, Names
    from streams.garblers import open_garblers
    from streams.redaction import open_redactor
    from trainer.datasets import read_manifest
    from trainer.forgotten import forgotten_runs
    from trainer.layout import DataDir
    from trainer.selection import CutSettings

    if dataset is not None and (source != "pairs" or since is not None):
        raise click.UsageError("--dataset goes with --from pairs and without --since")
    if (source == "scored-rows") != (kind is not None):
        raise click.UsageError("--from scored-rows wants --kind kto or groups; nothing else does")
    pairing = load(GarblingSettings, config_file, flags)
    like = candidates_of(dataset) if dataset else None
    settings = load(DatasetSettings, config_file, flags)
    refuse_trainers_folders(out, DataDir(settings.data_dir))
    cut = read_manifest(dataset).settings if dataset else CutSettings.of(settings)
    if kind is not None:  # what of the settings holds of scored rows
        cut = CutSettings(eval_fraction=settings.eval_fraction, held_out_by=settings.held_out_by)
    topics = {"events": RUN_EVENTS, "pairs": PAIRS, "scored-rows": SCORED_ROWS}
    names = Names(pairing.topic_prefix)
    topic = names.topic(topics[source])
    if source == "events":
        open_redactor(pairing)  # what cannot be is told before anything is read
    [described] = Cluster(pairing).describe(topic)
    if like is not None:
        like.check_source(described)
    if source == "events" and pairing.garbler != "corrupt":
        open_garblers(pairing)  # settings that lead to no model are told before anything is read
        click.echo(ANEW, err=True)
    forgotten = frozenset(forgotten_runs(DataDir(settings.data_dir)))
    wanted = Wanted(source, pairing, described, cut, kind or "pairs", since, like, forgotten)
    rebuilt = rebuild(wanted, out, show_progress)
    click.echo(rebuilt.summary)
    if rebuilt.not_redacted:
        raise PairstreamError(
            f"{rebuilt.not_redacted} runs are left out of {out}, since redacting them failed: mend "
            "the program of PAIRSTREAM_REDACT_COMMAND, and replay again into another folder"
        )
