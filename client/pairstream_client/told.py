"""Who learns what becomes of events in spools."""

from typing import Protocol


class Faults(Protocol):
    def fault(self, reason: str) -> None:
        """The spool could not be used as it should."""

    def unspooled(self) -> None:
        """An event waits in memory for want of a file."""


class Told(Faults, Protocol):
    """Learns what becomes of events, on any thread; `adopted` ones are of other processes."""

    def acknowledged(self, key: bytes, *, adopted: bool) -> None: ...

    def set_aside(self, reason: str, *, adopted: bool) -> None:
        """It will never be sent."""

    def put_off(self, reason: str) -> None:
        """It is tried again."""
