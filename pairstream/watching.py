"""`pairstream status` again and again: a screen that is drawn anew, or lines where it is none."""

import itertools
import json
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import click
import msgspec

from pairstream.cluster import Cluster
from pairstream.overview import Overview, read_overview
from pairstream.overview_text import overview_lines
from pairstream.terminal import counted, shown_time
from schemas.errors import PairstreamError
from schemas.settings import TrainerSettings

# Home, and after each line what is left of the one before; at the end the rest of the screen.
# Nothing is cleared before it is written over, so that nothing flickers.
HOME, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


def look(
    settings: TrainerSettings, cluster: Cluster, *, newest: int, wait_seconds: float
) -> tuple[Overview, PairstreamError | None]:
    """What there is to see now, and why of the cluster there is nothing.

    Raises: PairstreamError where the data directory is damaged, or brokers go while they are asked.
    """
    silence = None
    try:
        cluster.partitions(wait_seconds=wait_seconds)
    except PairstreamError as error:
        silence = error
    return read_overview(settings, None if silence else cluster, newest=newest), silence


def watch_status(
    look: Callable[[], tuple[Overview, PairstreamError | None]],
    *,
    head: str,
    as_json: bool,
    seconds: float,
    looks: int | None,
) -> None:
    """Look, show, rest, until Ctrl-C or so many looks; what fails for a moment is shown instead."""
    draws = sys.stdout.isatty() and not as_json
    if draws:
        click.clear()
    for number in itertools.count(1):
        now = shown_time(datetime.now(UTC))
        try:
            overview, silence = look()
        except PairstreamError as error:
            shown = _failure(str(error), now, head=head, draws=draws, as_json=as_json)
        else:
            why = None if silence is None else str(silence)
            shown = _shown(overview, why, now, head=head, draws=draws, as_json=as_json)
        click.echo(shown, nl=not draws)
        if number == looks:
            break
        time.sleep(seconds)
    if draws:
        click.echo()


def _shown(
    overview: Overview, why: str | None, now: str, *, head: str, draws: bool, as_json: bool
) -> str:
    """`why` there is nothing to see of the cluster."""
    if as_json:
        error = {} if why is None else {"error": why}
        return json.dumps({"time": now, **error, **msgspec.to_builtins(overview, str_keys=True)})
    if draws:
        told = textwrap.wrap(why or "", shutil.get_terminal_size().columns)
        return _screen([f"{head}, {now}", *told, *overview_lines(overview)])
    return f"{now}  {f'{why}; ' if why else ''}{summary(overview)}"


def _failure(why: str, now: str, *, head: str, draws: bool, as_json: bool) -> str:
    if as_json:
        return json.dumps({"time": now, "error": why})
    return _screen([f"{head}, {now}", why]) if draws else f"{now}  {why}"


def _screen(lines: list[str]) -> str:
    return screen(lines, height=shutil.get_terminal_size().lines)


def screen(lines: list[str], *, height: int) -> str:
    """What writes the lines over those before; the last ones are left out where they do not fit."""
    fitting = lines if len(lines) < height else [*lines[: height - 2], "..."]
    body = f"{REST_OF_LINE}\n".join(fitting)
    return f"{HOME}{body}{REST_OF_LINE}\n{REST_OF_SCREEN}"


def summary(overview: Overview) -> str:
    """One line; of the cluster nothing where there is nothing to see of it. Pure."""
    cluster, threshold = overview.cluster, overview.next_dataset
    data = (
        f"{threshold.new_pairs} of {threshold.trigger_pairs} new pairs, "
        f"{counted(len(overview.data_dir.datasets), 'dataset')}, "
        f"{counted(len(overview.trainings), 'training')}"
    )
    if cluster is None:
        return data
    behind = sum(cluster.worker.lag.values())
    return (
        f"lag {behind}; {_total(cluster.open_runs.counts)} open runs, "
        f"{_total(cluster.outcomes.counts)} settled, {_total(cluster.pairs.counts)} pairs; {data}"
    )


def _total(counts: Mapping[str, int]) -> int:
    return sum(counts.values())
