"""`pairstream worker`."""

import sys
from pathlib import Path
from typing import Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.settings import WorkerSettings


@click.command("worker")
@settings_options(WorkerSettings)
def command(config_file: Path | None, **flags: Any) -> None:
    """Settle runs into pairs, scored rows and outcomes: the Faust app.

    Start as many as there are partitions at most; they share the work. Stops cleanly on SIGTERM;
    after SIGKILL the next one goes on, nothing is lost.

    \b
    Example:
      pairstream worker --run-timeout-seconds 600
    """
    from pairstream.cluster import Cluster, worker_partitions
    from pairstream.logs import set_up_logs
    from schemas.topics import (
        GARBLE_REQUESTS,
        PAIRS,
        RUN_EVENTS,
        RUN_OUTCOMES,
        SCORED_ROWS,
        Names,
    )
    from streams.worker import run_worker

    settings = load(WorkerSettings, config_file, flags)
    set_up_logs()
    names = Names(settings.topic_prefix)
    required = [
        *(names.topic(t) for t in (RUN_EVENTS, GARBLE_REQUESTS, PAIRS, SCORED_ROWS, RUN_OUTCOMES)),
        names.dead_letters(RUN_EVENTS),
        names.dead_letters(GARBLE_REQUESTS),
    ]
    partitions = worker_partitions(Cluster(settings), names, required)
    sys.exit(run_worker(settings, partitions=partitions))
