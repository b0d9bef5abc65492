"""`pairstream worker`."""

import sys
from pathlib import Path
from typing import Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.settings import WorkerSettings


@click.command("worker")
@settings_options(WorkerSettings)
@click.option(
    "--rebuild",
    is_flag=True,
    help="First make the state anew from the events, where it was lost; no other worker may run.",
)
def command(config_file: Path | None, *, rebuild: bool, **flags: Any) -> None:
    """Settle runs into pairs, scored rows and outcomes: the Faust app.

    Start as many as there are partitions at most; they share the work. Stops cleanly on SIGTERM;
    after SIGKILL the next one goes on, nothing is lost.

    \b
    Example:
      pairstream worker --run-timeout-seconds 600
    """
    from pairstream.cluster import Cluster, describe_worker_source, worker_partitions
    from pairstream.http_server import serving
    from pairstream.logs import set_up_logs
    from pairstream.permissions import check_permissions
    from pairstream.terminal import show_progress
    from pairstream.traces import tracing
    from schemas.memory import keep_small
    from schemas.topics import (
        GARBLE_REQUESTS,
        PAIRS,
        RUN_EVENTS,
        RUN_OUTCOMES,
        SCORED_ROWS,
        Names,
    )
    from streams.vitals import WorkerVitals
    from streams.worker import run_worker

    settings = load(WorkerSettings, config_file, flags)
    set_up_logs()
    keep_small()
    names = Names(settings.topic_prefix)
    required = [
        *(names.topic(t) for t in (RUN_EVENTS, GARBLE_REQUESTS, PAIRS, SCORED_ROWS, RUN_OUTCOMES)),
        names.dead_letters(RUN_EVENTS),
        names.dead_letters(GARBLE_REQUESTS),
    ]
    cluster = Cluster(settings)
    partitions = worker_partitions(cluster, names, required)
    check_permissions(cluster, settings, "worker")
    if rebuild:
        from pairstream.state_rebuild import rebuild_state

        click.echo(rebuild_state(settings, partitions=partitions, progress=show_progress), err=True)
    vitals = WorkerVitals(settings)
    with (
        tracing("worker") as begin_trace,
        serving(vitals, host=settings.http_host, port=settings.http_port),
    ):
        code = run_worker(
            settings,
            partitions=partitions,
            describe_source=lambda: describe_worker_source(cluster, names),
            vitals=vitals,
            begin_trace=begin_trace,
        )
    sys.exit(code)
