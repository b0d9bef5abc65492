"""`pairstream verify`."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from pairstream.moments import MomentType
from pairstream.settings_loader import load, settings_options
from schemas.errors import PairstreamError
from schemas.settings import DataSettings, PairingSettings


@click.command("verify")
@click.option("--since", type=MomentType(), metavar="TIME",
              help="Only runs that began from this time on: 2026-11-24, 2026-11-24T21:30:00Z (UTC "
              "without a zone), or so long ago: 90s, 30m, 2h, 7d.")  # fmt: skip
@click.option("--run", "run_id", metavar="RUN_ID", help="Only this run.")
@click.option("--ledger", type=click.Path(path_type=Path, dir_okay=False),
              help="JSON lines of what the senders of events were told.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object with the same facts.")
@settings_options(PairingSettings, DataSettings)
def command(
    config_file: Path | None,
    since: datetime | None,
    run_id: str | None,
    ledger: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Check that nothing is lost and nothing stands twice.

    Recomputes from the events what must be in every topic and in the data directory, by code of
    its own that shares nothing with the worker, and names what is missing, different or too much.
    Give it the pairing settings of the workers. Reads only, while all may run; exit code 1 where
    a check does not hold. Checks what is there: what retention took is left out, and said.

    A line of the ledger is one send: run_id; event_id, or key and sha256 (of the value);
    partition and offset; result: acknowledged, failed or unknown.

    It reads every topic and every file once. Its memory: the events of open runs; of one partition
    some 600 bytes for each event, its rows included, and 500 for each pair; 250 bytes for each
    pair of all datasets, each dead letter and each line of the ledger.

    The keys of --json: holds; events (counts by what became of them); checks (check, invariant,
    name, state: holds, broken, not_checked or information; checked, unit, note, found, and
    findings with what, id and at: topic/partition/offset or file).

    \b
    Example:
      pairstream verify --json | jq '.checks[] | select(.state == "broken")'
    """
    from pairstream.terminal import as_json_text
    from pairstream.verify.everything import verify
    from pairstream.verify.ledger import read_ledger
    from pairstream.verify.snapshot import Scope
    from pairstream.verify.text import report_lines
    from trainer.layout import DataDir

    pairing = load(PairingSettings, config_file, flags)
    data = DataDir(load(DataSettings, config_file, flags).data_dir)
    scope = Scope(run_id, since)
    sends = read_ledger(ledger) if ledger else None
    report = verify(pairing, data, scope, sends, _progress)
    click.echo(as_json_text(report) if as_json else "\n".join(report_lines(report)))
    if not report.holds:
        broken = [check.invariant for check in report.checks if check.state == "broken"]
        do_not = "check does not" if len(broken) == 1 else "checks do not"
        raise PairstreamError(f"{len(broken)} {do_not} hold ({', '.join(broken)}): see above")


def _progress(topic: str, done: int) -> None:
    click.echo(f"{done} records of {topic} read", err=True)
