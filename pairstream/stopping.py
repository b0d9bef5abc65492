"""SIGTERM, as the commands see it."""

from collections.abc import Iterator
from contextlib import contextmanager

TERMINATED = 143  # as a shell says it: 128 and the signal's number


class Terminated(SystemExit):
    """Unwinds the command, so that every `with` and `finally` cleans up."""

    def __init__(self) -> None:
        super().__init__(TERMINATED)


@contextmanager
def until_stopped() -> Iterator[None]:
    """Around what has no other end: being stopped is no failure, and what was done is done."""
    try:
        yield
    except Terminated:
        raise SystemExit(0) from None
