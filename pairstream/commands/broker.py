"""`pairstream broker`."""

import signal
import sys

import click

from pairstream.settings_loader import check_variables
from schemas.errors import PairstreamError
from streams.broker import EmbeddedBroker


@click.command("broker")
@click.option("--port", type=click.IntRange(1, 65535), default=9092, show_default=True,
              help="Where it listens, on 127.0.0.1.")  # fmt: skip
def command(port: int) -> None:
    """Run the embedded broker on loopback, in memory, until Ctrl-C or SIGTERM.

    For development: what it holds ends with it.

    \b
    Example:
      pairstream broker --port 9092 &
      pairstream topics apply
    """
    check_variables()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with EmbeddedBroker(port) as broker:
        click.echo(f"embedded broker at {broker.bootstrap_servers} (in memory; Ctrl-C ends it)")
        code = broker.wait()
    raise PairstreamError(
        f"the embedded broker ended by itself (exit code {code}), and what it held is gone: start "
        "it again, then `pairstream topics apply`"
    )
