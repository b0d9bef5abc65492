"""`pairstream topics apply` and `pairstream topics migrate`."""

from pathlib import Path
from typing import Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.errors import PairstreamError
from schemas.settings import KafkaSettings, TopicSettings


@click.group("topics")
def command() -> None:
    """Create the topics, or copy events to topics with other partitions."""


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


@command.command("migrate")
@click.option(
    "--from-prefix",
    required=True,
    metavar="PREFIX",
    help="The PAIRSTREAM_TOPIC_PREFIX of the old topics; '' where they have none.",
)
@settings_options(KafkaSettings)
def migrate(config_file: Path | None, from_prefix: str, **flags: Any) -> None:
    """Copy the events of another prefix, so that their runs go on in topics with more partitions.

    Stop the agents first, and the old workers when they have read all. Create the new topics by
    `pairstream topics apply`. Bytes, keys and headers are copied as they are, and every run comes
    whole, also where partitions were added under it. Run twice it changes nothing.

    \b
    Example:
      pairstream topics apply --topic-prefix v2. --partitions 12
      pairstream topics migrate --topic-prefix v2. --from-prefix ''
    """
    from pairstream.migration import migrate_events
    from pairstream.terminal import show_progress

    settings = load(KafkaSettings, config_file, flags)
    click.echo(migrate_events(settings, from_prefix=from_prefix, progress=show_progress))
