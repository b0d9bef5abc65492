"""`pairstream spool list` and `pairstream spool send`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.errors import PairstreamError
from schemas.settings import KafkaSettings

if TYPE_CHECKING:
    from pairstream_client.dead_spools import Sent, SpoolFacts

PROGRESS_EVERY = 10_000

folder_argument = click.argument(
    "folder",
    metavar="[DIR]",
    envvar="PAIRSTREAM_SPOOL_DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
)


@click.group("spool")
def command() -> None:
    """Show and send events that agents' processes kept and did not get acknowledged."""


@command.command("list")
@folder_argument
@click.option("--json", "as_json", is_flag=True, help="One JSON object with the same facts.")
def list_spools(folder: Path, as_json: bool) -> None:
    """Show what each agent's process keeps in DIR (else PAIRSTREAM_SPOOL_DIR), the oldest first.

    A living process sends its own, and what it took over from one that ended: some of what it
    holds may be acknowledged already. Damaged lines are not whole: the last one of a killed
    process, as a rule, which its agent never had recorded.

    The keys of --json: spools (name, process_id, held_by, events, runs, bytes, damaged), refused
    (how many events stand in refused.jsonl, because no broker will take them).

    \b
    Example:
      pairstream spool list /var/lib/agent/spool
    """
    _check_client()
    from pairstream.terminal import as_json_text
    from pairstream_client.dead_spools import refused_in, spools_in

    try:
        spools, refused = spools_in(folder), refused_in(folder)
    except OSError as error:
        raise _unreadable(folder, error) from error
    if as_json:
        click.echo(as_json_text({"spools": spools, "refused": refused}))
    else:
        click.echo("\n".join(_lines(spools, refused)))


@command.command("send")
@folder_argument
@settings_options(KafkaSettings)
def send_spools(folder: Path, config_file: Path | None, **flags: Any) -> None:
    """Send what processes that ended have left in DIR (else PAIRSTREAM_SPOOL_DIR).

    Each spool is deleted when all of it is acknowledged. What no broker will take, because it is
    too large, is moved to refused.jsonl in DIR. The spool of a living process is left alone.
    Sending again changes nothing, since what is there twice counts once. Exit code 1 when
    something is left or refused.

    \b
    Example:
      pairstream spool send /var/lib/agent/spool
    """
    _check_client()
    from pairstream.cluster import Cluster
    from pairstream_client.dead_spools import send_dead_spools, spools_in
    from schemas import clients
    from schemas.topics import RUN_EVENTS, Names

    settings = load(KafkaSettings, config_file, flags)
    topic = Names(settings.topic_prefix).topic(RUN_EVENTS)
    Cluster(settings).require(topic)
    config: dict[str, object] = {**clients.producer(settings)}
    try:
        sent = send_dead_spools(folder, topic, config, _say_progress)
        left = spools_in(folder)
    except OSError as error:
        raise _unreadable(folder, error) from error
    for spool in left:
        if spool.held_by is not None:
            click.echo(f"{spool.name}: left to process {spool.held_by}, which lives and sends it")
    click.echo(_result(sent))
    _check_nothing_left(sent, [spool for spool in left if spool.held_by is None], folder)


def _check_client() -> None:
    try:
        import pairstream_client  # noqa: F401 - to say so plainly
    except ImportError as error:
        raise PairstreamError(
            "the spool is the agents' library's: pip install pairstream-client"
        ) from error


def _unreadable(folder: Path, error: OSError) -> PairstreamError:
    return PairstreamError(f"{error.filename or folder}: {error.strerror}")


def _lines(spools: "list[SpoolFacts]", refused: int) -> list[str]:
    from pairstream.terminal import counted

    lines = []
    for spool in spools:
        holder = "ended" if spool.held_by is None else f"held by process {spool.held_by}"
        damaged = f", {counted(spool.damaged, 'damaged line')}" if spool.damaged else ""
        lines.append(
            f"{spool.name}  {holder}  "
            f"{counted(spool.events, 'event')} of {counted(spool.runs, 'run')}, "
            f"{counted(spool.bytes, 'byte')}{damaged}"
        )
    if refused:
        lines.append(f"refused.jsonl  {counted(refused, 'event')} that no broker will take")
    return lines or ["nothing is kept"]


def _say_progress(events: int) -> None:
    if events % PROGRESS_EVERY == 0:
        click.echo(f"{events} events acknowledged", err=True)


def _result(sent: "Sent") -> str:
    from pairstream.terminal import counted

    events, runs = counted(sent.events, "event"), counted(sent.runs, "run")
    return f"{events} of {runs} sent and acknowledged; {sent.refused} refused"


def _check_nothing_left(sent: "Sent", left: "list[SpoolFacts]", folder: Path) -> None:
    """Raises: PairstreamError that says what to do."""
    from pairstream.terminal import counted

    reasons = [*sent.faults, *([sent.failure] if sent.failure else [])]
    why = f" ({'; '.join(reasons)})" if reasons else ""
    if left:
        events = counted(sum(spool.events for spool in left), "event")
        raise PairstreamError(
            f"{events} of {counted(len(left), 'process', 'processes')} are left{why}: run it again,"
            " what is there twice changes nothing"
        )
    if sent.refused:
        raise PairstreamError(
            f"{counted(sent.refused, 'event')} refused{why}: see {folder / 'refused.jsonl'}"
        )
