"""`pairstream COMMAND`: commands are loaded only when they run, so that help comes at once."""

import difflib
import importlib
import signal
import sys
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from pairstream.stopping import Terminated
from schemas.errors import DISK_ERRORS, InvalidSettings, PairstreamError
from schemas.printable import is_utf8

COMMANDS = {
    "demo": "Everything on the embedded broker, up to a trained model.",
    "broker": "Run the embedded broker, for development.",
    "topics": "Create the topics; say who must be allowed what.",
    "ingest": "Send events, or what agents recorded by another standard.",
    "bridge": "Take in agents' traces (OpenTelemetry), all the time.",
    "worker": "Settle runs into rows (the Faust app).",
    "trainer": "Take in pairs, cut datasets, train.",
    "dataset": "List, show, compare and export datasets.",
    "replay": "Rebuild a dataset from a topic.",
    "train": "Train on one dataset, now.",
    "reproduce": "Train again, and compare what comes of it.",
    "trainings": "List, follow, cancel and retry trainings.",
    "models": "List, compare, promote, roll back and merge models.",
    "status": "One screen: lag, runs, pairs, datasets, trainings.",
    "ui": "A site: stream, yield, pairs, datasets, trainings, models.",
    "tail": "Pairs, outcomes and dead letters as they come.",
    "doctor": "Check all that a deployment needs, with remedies.",
    "dlt": "Show and re-send dead letters.",
    "spool": "Show and send what agents that ended have left.",
    "explain": "Why a run gave the rows that it gave.",
    "forget": "Say where runs stand, and let nothing new learn from them.",
    "verify": "Check that nothing is lost and nothing stands twice.",
    "schema": "Print the JSON Schemas or the AsyncAPI document.",
    "completion": "Print what makes a shell complete commands.",
}


class LazyGroup(click.Group):
    """Lists its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"pairstream.commands.{name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            error.message += f" Did you mean {near[0]}?" if near else ""
            raise

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands without importing them: a shell asks at every key."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=about)
            for name, about in COMMANDS.items()
            if name.startswith(incomplete)
        ]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pairstream")
def cli() -> None:
    """Turn the stream of live agent runs into honest DPO pairs, and pairs into better models.

    Agents' events go into Kafka (`ingest`, or the client library); `worker` settles each run into
    pairs; `trainer` batches pairs into datasets and trains on them. Try it all: `pairstream demo`.

    Settings: flags win over PAIRSTREAM_* variables, these over --config FILE, this over defaults.
    PAIRSTREAM_LOG_LEVEL (DEBUG, INFO, WARNING, ERROR) says how much is logged.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Exit codes: 0 done, 1 failed, 2 wrong usage or settings."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        cli.main(arguments, standalone_mode=False)
    except InvalidSettings as error:
        _say(str(error))
        sys.exit(2)
    except PairstreamError as error:
        _say(str(error))
        sys.exit(1)
    except OSError as error:
        if error.filename is None and error.errno not in DISK_ERRORS:
            raise
        _say(
            f"{error.filename or 'a file'} cannot be used ({error.strerror}): mend that, "
            "or name another place"
        )
        sys.exit(1)
    except UnicodeEncodeError:
        # A byte that is none of UTF-8 stands in an argument as what no encoding writes.
        wrong = [each for each in arguments or sys.argv[1:] if not is_utf8(each)]
        if not wrong:
            raise
        _say(f"the argument {wrong[0]!a} is no UTF-8: write it in UTF-8")
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        _say("stopped")
        sys.exit(130)
    sys.exit(0)


def _on_sigterm(*_: Any) -> NoReturn:
    """Workers and trainers set their own."""
    raise Terminated


def _say(text: str) -> None:
    click.echo(f"pairstream: {text}", err=True)


if __name__ == "__main__":
    main()
