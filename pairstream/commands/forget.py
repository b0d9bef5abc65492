"""`pairstream forget`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.errors import PairstreamError
from schemas.settings import DataSettings


@click.command("forget")
@click.argument("run_ids", nargs=-1, metavar="[RUN_ID]...")
@click.option("--agent", "agent_id", metavar="AGENT_ID", help="All runs that this agent reported.")
@click.option("--yes", is_flag=True, help="Do it; without, it is only said what there is.")
@click.option("--rewrite", is_flag=True,
              help="Also write each dataset that holds them anew, without them.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object with the same facts.")
@settings_options(DataSettings)
def command(
    config_file: Path | None,
    run_ids: tuple[str, ...],
    agent_id: str | None,
    yes: bool,
    rewrite: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Say where runs stand, and let nothing new learn from them.

    With --yes their ids are put on a list in the data directory, which holds for good: the trainer
    takes none of their pairs any more, and `replay` none either. Datasets that hold them already
    never change; they are marked (forgotten.json), and `dataset show`, `models` and `explain` say
    so. --rewrite writes each of them once more, without these runs, to DATA_DIR/rewritten/: train
    on that (`pairstream train`), and delete the old model. Kafka deletes by age or by offset, never
    by key: for each topic it is said from when on it may be gone, and what else can be done. The
    trainer may run meanwhile.

    The keys of --json: runs; topics (topic, records, newest, kept: for_ever, by_age or unknown,
    gone_after, ends: the offset behind the last one by partition); state (open_events,
    settled_marks); segments (segment, pairs); datasets (dataset, pairs by run); models; acted;
    rewritten (folders).

    \b
    Examples:
      pairstream forget r-1
      pairstream forget --agent cleaner-7 --yes --rewrite
    """
    from pairstream.forget_facts import Search, as_builtins
    from pairstream.forget_text import traces_lines
    from pairstream.terminal import as_json_text
    from trainer.layout import DataDir

    if bool(run_ids) == (agent_id is not None):
        raise click.UsageError("name runs, or an --agent")
    if rewrite and not yes:
        raise click.UsageError("--rewrite goes with --yes")
    settings = load(DataSettings, config_file, flags)
    data = DataDir(settings.data_dir)
    search = Search(settings, data, _progress)
    runs = sorted(set(run_ids)) if agent_id is None else search.runs_of(agent_id)
    traces = search.traces(runs)
    if traces.is_empty:
        who = f"the agent {agent_id!a}" if agent_id is not None else ", ".join(map(ascii, runs))
        raise PairstreamError(
            f"nothing is known of {who} at {settings.bootstrap_servers} and in {data.root}; is the "
            "id right?"
        )
    if not as_json:
        click.echo("\n".join(traces_lines(traces)))
    rewritten = _forget(data, traces, rewrite=rewrite) if yes else []
    if as_json:
        click.echo(as_json_text(as_builtins(traces, acted=yes, rewritten=rewritten)))
    elif yes:
        click.echo(f"forgotten: nothing new in {data.root} takes their pairs")
        click.echo("\n".join(f"rewritten: {folder}" for folder in rewritten), nl=bool(rewritten))
    else:
        click.echo("nothing was done; with --yes they are forgotten")


def _forget(data: Any, traces: Any, *, rewrite: bool) -> list[str]:
    """The list first: what is published after it was written leaves them out by itself."""
    from pairstream.forget_facts import path_of_rewritten
    from pairstream.rewriting import rewrite_dataset
    from trainer.forgotten import (
        forgotten_runs,
        mark_dataset,
        remember_forgotten,
        rewritten_folders,
    )

    remember_forgotten(data, traces.runs, datetime.now(UTC))
    forgotten = forgotten_runs(data)
    rewritten = []
    for name in data.dataset_names():
        mark = mark_dataset(data.datasets / name, forgotten)
        concerned = mark is not None and any(run.run_id in traces.runs for run in mark.runs)
        if concerned and rewrite:
            out = path_of_rewritten(data, name)
            if rewrite_dataset(data, name, out, forgotten):
                rewritten.append(str(out))
    for folder in rewritten_folders(data):
        mark_dataset(folder, forgotten)
    return rewritten


def _progress(topic: str, done: int) -> None:
    click.echo(f"{done} records of {topic} read", err=True)
