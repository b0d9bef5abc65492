"""What the processes of a rebuild report, as JSON lines on standard output."""

import sys

import msgspec
from msgspec import Struct


class Report(Struct, frozen=True, omit_defaults=True):
    """How far it has come; `error` ends it, and so does `done`."""

    read: int = 0
    invalid: int = 0
    open_runs: int = 0
    not_redacted: int = 0
    done: bool = False
    error: str | None = None


def report(said: Report) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()
