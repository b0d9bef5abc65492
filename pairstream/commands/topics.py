"""`pairstream topics apply`, `pairstream topics acls` and `pairstream topics migrate`."""

from pathlib import Path
from typing import Any, get_args

import click

from pairstream.number_range import NumberRange
from pairstream.settings_loader import load, settings_options
from schemas.acls import Role
from schemas.errors import PairstreamError
from schemas.settings import KafkaSettings, TopicSettings


@click.group("topics")
def command() -> None:
    """Create the topics, say who must be allowed what, or copy events to other partitions."""


@command.command("apply")
@settings_options(TopicSettings)
@click.option("--wait", type=NumberRange(min=0), default=10.0, metavar="SECONDS", show_default=True,
              help="How long to wait for the broker.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object with the same facts.")
def apply(config_file: Path | None, wait: float, as_json: bool, **flags: Any) -> None:
    """Create the topics that are missing; say what differs, and change nothing that is there.

    Exit code 1 when something that is there differs from what is wanted; how long records are kept
    (retention.ms) is yours to choose: it is said, and does not count.

    The keys of --json: topics (name, created, differs: what is not as wanted, chosen: what is
    otherwise than by default, and may be).

    \b
    Example:
      pairstream topics apply --partitions 12 --replication-factor 3
    """
    from pairstream.cluster import Cluster, apply_topics
    from pairstream.terminal import as_json_text

    settings = load(TopicSettings, config_file, flags)
    cluster = Cluster(settings)
    cluster.partitions(wait_seconds=wait)
    states = []
    for state in apply_topics(cluster, settings):
        states.append(state)
        told = "; ".join([*state.differs, *(f"{what} (as chosen)" for what in state.chosen)])
        what = "created" if state.created else told or "as wanted"
        if not as_json:
            click.echo(f"{state.name}: {what}")
    if as_json:
        facts = [
            {"name": s.name, "created": s.created, "differs": s.differs, "chosen": s.chosen}
            for s in states
        ]
        click.echo(as_json_text({"topics": facts}))
    differing = sum(bool(state.differs) for state in states)
    if differing:
        raise PairstreamError(
            f"{differing} topics differ and were left alone: alter settings with kafka-configs.sh; "
            "partitions cannot be changed under runs (use a new PAIRSTREAM_TOPIC_PREFIX)"
        )


@command.command("acls")
@click.option("--principal-prefix", default="User:pairstream-", metavar="PREFIX",
              show_default=True, help="Put before each role for its principal.")  # fmt: skip
@click.option("--role", "roles", type=click.Choice(get_args(Role)), multiple=True,
              help="Only this role; repeatable.")  # fmt: skip
@click.option("--apply", "applies", is_flag=True, help="Make them, instead of printing them.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list: principal, resource, name, "
              "operation.")  # fmt: skip
@settings_options(KafkaSettings)
def acls(
    config_file: Path | None,
    principal_prefix: str,
    roles: tuple[Role, ...],
    applies: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Print the ACLs that each process needs, the least, as lines of kafka-acls.sh.

    The roles: agent (the client library, ingest), worker, trainer, reader (status, explain,
    verify, replay, dlt list, tail, ui), bridge (bridge otlp) and admin (topics apply, dlt replay,
    models promote). Worker and trainer refuse to start without theirs. With --apply they are made,
    by a super user; what is there already stays, and nothing is ever removed.

    \b
    Examples:
      pairstream topics acls --role worker --principal-prefix User:cleaners-
      pairstream topics acls --apply
    """
    from pairstream.cluster import Cluster
    from pairstream.permissions import apply_rules, script
    from pairstream.terminal import as_json_text
    from schemas.acls import rules
    from schemas.topics import Names

    settings = load(KafkaSettings, config_file, flags)
    names = Names(settings.topic_prefix)
    made = [
        rule
        for role in roles or get_args(Role)
        for rule in rules(role, principal_prefix + role, names)
    ]
    if applies:
        cluster = Cluster(settings)
        cluster.partitions()
        apply_rules(cluster, made)
    if as_json:
        click.echo(as_json_text(made))
    elif applies:
        for rule in made:
            click.echo(f"{rule.principal} may {rule.operation} {rule.resource} {rule.name}")
    else:
        click.echo("\n".join(script(made, settings.bootstrap_servers)))


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
