"""`pairstream trainer`."""

import signal
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.settings import TrainerSettings


@click.command("trainer")
@click.option("--once", is_flag=True, help="Stop when nothing that is there is left to do.")
@click.option(
    "--accept-loss",
    is_flag=True,
    help="Go on behind pairs that retention took before they were read, and remember which.",
)
@settings_options(TrainerSettings)
def command(config_file: Path | None, once: bool, accept_loss: bool, **flags: Any) -> None:
    """Take in pairs, cut a dataset at the threshold, and train on it in a container.

    One trainer owns one data directory. It goes on where its files end, whatever happened before.

    \b
    Example:
      pairstream trainer --trigger-pairs 500 --base-model ./models/qwen3-0.6b
    """
    from pairstream.cluster import Cluster
    from pairstream.http_server import serving
    from pairstream.logs import set_up_logs
    from pairstream.permissions import check_permissions
    from pairstream.traces import tracing
    from schemas.memory import keep_small
    from schemas.topics import PAIRS, TRAININGS, Names
    from trainer.base_model import base_model_of
    from trainer.gate_command import gate_words
    from trainer.kubernetes_placement import check_placement
    from trainer.recipe import recipe_flags
    from trainer.service import run_trainer
    from trainer.traces import TrainerTraces
    from trainer.vitals import TrainerVitals

    settings = load(TrainerSettings, config_file, flags)
    set_up_logs()
    keep_small()
    if settings.launcher != "none":
        base_model = base_model_of(settings)
        recipe_flags(settings)
        gate_words(settings.gate_command)
        if settings.launcher == "kubernetes":
            check_placement(settings, [settings.data_dir.absolute(), base_model])
    names = Names(settings.topic_prefix)
    cluster = Cluster(settings)
    cluster.require(names.topic(PAIRS), names.topic(TRAININGS), names.dead_letters(PAIRS))
    check_permissions(cluster, settings, "trainer")
    [source] = cluster.describe(names.topic(PAIRS))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    vitals = TrainerVitals(settings)
    with (
        tracing("trainer") as begin_trace,
        serving(vitals, host=settings.http_host, port=settings.http_port),
        closing(TrainerTraces(begin_trace, names)) as traces,
    ):
        run_trainer(
            settings, source,
            once=once, stop=stop, vitals=vitals, traces=traces, accept_loss=accept_loss,
        )  # fmt: skip
