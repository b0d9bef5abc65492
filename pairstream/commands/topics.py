"""`pairstream topics apply`."""

from pathlib import Path
from typing import Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.errors import PairstreamError
from schemas.settings import TopicSettings


@click.group("topics")
def command() -> None:
    """Create the topics."""


@command.command("apply")
@settings_options(TopicSettings)
@click.option("--wait", type=float, default=10.0, metavar="SECONDS", show_default=True,
              help="How long to wait for the broker.")  # fmt: skip
def apply(config_file: Path | None, wait: float, **flags: Any) -> None:
    """Create the topics that are missing; say what differs, and change nothing that is there.

    Exit code 1 when something that is there differs from what is wanted.

    \b
    Example:
      pairstream topics apply --partitions 12 --replication-factor 3
    """
    from pairstream.cluster import Cluster, apply_topics

    settings = load(TopicSettings, config_file, flags)
    cluster = Cluster(settings)
    cluster.partitions(wait_seconds=wait)
    differing = 0
    for state in apply_topics(cluster, settings):
        differing += bool(state.differs)
        what = "created" if state.created else "; ".join(state.differs) or "as wanted"
        click.echo(f"{state.name}: {what}")
    if differing:
        raise PairstreamError(
            f"{differing} topics differ and were left alone: alter settings with kafka-configs.sh; "
            "partitions cannot be changed under runs (use a new PAIRSTREAM_TOPIC_PREFIX)"
        )
