"""Counts what becomes of this process's events, and says what goes wrong."""

from dataclasses import dataclass

from pairstream_client.complaints import Complaints
from pairstream_client.process_lock import process_lock
from pairstream_client.sender import Failure


@dataclass(frozen=True)
class Stats:
    """What became of this process's events, in counts.

    `dropped` will never be sent, `failed` were queued but not acknowledged in time, `queued` wait.

    With a spool, `queued` are those in it, `unspooled` waited in memory because it could not be
    written (they are counted in the others, too), and `adopted` are events of processes that ended
    before which this one sent: they are acknowledged and counted nowhere else.
    """

    acknowledged: int = 0
    failed: int = 0
    dropped: int = 0
    queued: int = 0
    unspooled: int = 0
    adopted: int = 0


class Tally:
    """Any thread may tell; reasons quote nothing of an agent's."""

    def __init__(self) -> None:
        self.complaints = Complaints()
        self._acknowledged = self._failed = self._dropped = self._queued = 0
        self._unspooled = self._adopted = 0

    @property
    def stats(self) -> Stats:
        with process_lock:
            return Stats(
                self._acknowledged,
                self._failed,
                self._dropped,
                self._queued,
                self._unspooled,
                self._adopted,
            )

    def queued(self) -> None:
        with process_lock:
            self._queued += 1

    def dropped(self, reason: str) -> None:
        """It was never queued."""
        with process_lock:
            self._dropped += 1
        self.complaints.say(reason, f"an event was dropped: {reason}")

    def delivered(self, failure: Failure | None) -> None:
        """What became of a queued event without a spool."""
        with process_lock:
            self._queued -= 1
            self._acknowledged += failure is None
            self._failed += failure is not None
        if failure is not None:
            reason = failure.reason
            self.complaints.say(reason, f"an event was not delivered: {reason}")

    def acknowledged(self, key: bytes, *, adopted: bool) -> None:
        with process_lock:
            self._adopted += adopted
            self._acknowledged += not adopted
            self._queued -= not adopted

    def set_aside(self, reason: str, *, adopted: bool) -> None:
        with process_lock:
            self._dropped += 1
            self._queued -= not adopted
        self.complaints.say(reason, f"an event was dropped: {reason}")

    def put_off(self, reason: str) -> None:
        self.complaints.say(reason, f"an event was not delivered, it is tried again: {reason}")

    def fault(self, reason: str) -> None:
        self.complaints.say(reason, reason)

    def unspooled(self) -> None:
        with process_lock:
            self._unspooled += 1

    def ended(self, number: int) -> None:
        """Queued events that end with the process."""
        with process_lock:
            self._queued -= number
            self._failed += number
