"""What processes that ended have left in a spool: shown, and sent, for `pairstream spool`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pairstream_client import spool_folders
from pairstream_client.courier import Courier
from pairstream_client.process_lock import process_lock
from pairstream_client.sender import Sender
from pairstream_client.settings import Config, SpoolSettings
from pairstream_client.spool_lines import event_of

# Of librdkafka's queue; the rest waits in its files.
MOST_UNDER_WAY = 10_000


@dataclass(frozen=True)
class SpoolFacts:
    """What one process kept; some events of one that lives may be acknowledged already.

    `held_by` is the living process that sends it: itself, or a later one. `damaged` lines are not
    whole: the last one of a killed process, as a rule.
    """

    name: str
    process_id: int
    held_by: int | None
    events: int
    runs: int
    bytes: int
    damaged: int


def spools_in(root: Path) -> list[SpoolFacts]:
    """The oldest first. Raises: OSError."""
    return [_facts(path) for path in spool_folders.folders_in(root)]


def refused_in(root: Path) -> int:
    """How many lines were moved aside because no broker will take them. Raises: OSError."""
    file = root / spool_folders.REFUSED
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _facts(path: Path) -> SpoolFacts:
    runs: set[bytes] = set()
    events = damaged = 0
    for segment in spool_folders.segments_in(path):
        with segment.open("rb") as lines:
            for line in lines:
                event = event_of(line)
                damaged += event is None
                events += event is not None
                runs |= {event.key} if event is not None else set()
    return SpoolFacts(
        name=path.name,
        process_id=spool_folders.process_id_of(path),
        held_by=spool_folders.holder_of(path),
        events=events,
        runs=len(runs),
        bytes=spool_folders.size_of(path),
        damaged=damaged,
    )


class Sent:
    """What became of what was left."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        """`progress` is told of each event's acknowledgement: how many there are by now."""
        self.events = self.refused = 0
        self.faults: list[str] = []
        self.failure: str | None = None
        self._progress = progress
        self._runs: set[bytes] = set()

    @property
    def runs(self) -> int:
        return len(self._runs)

    def acknowledged(self, key: bytes, *, adopted: bool) -> None:
        with process_lock:
            self._runs.add(key)
            self.events += 1
            self._progress(self.events)

    def set_aside(self, reason: str, *, adopted: bool) -> None:
        with process_lock:
            self.refused += 1
            self.fault(reason)

    def put_off(self, reason: str) -> None:
        self.failure = reason

    def fault(self, reason: str) -> None:
        if reason not in self.faults:
            self.faults.append(reason)

    def unspooled(self) -> None:
        """Nothing is recorded here."""


def send_dead_spools(
    root: Path, topic: str, config: Config, progress: Callable[[int], None]
) -> Sent:
    """Send what processes that ended have left, until it is acknowledged or one event fails.

    Args:
        config: librdkafka's; its `delivery.timeout.ms` bounds the wait for a broker.
    """
    sent = Sent(progress)
    sender = Sender(config, troubled=lambda _, __: None)
    courier = Courier(
        SpoolSettings(root),
        lambda event, delivered: sender.send(topic, event, delivered),
        sent,
        most_under_way=MOST_UNDER_WAY,
    )
    courier.find_leftovers()
    try:
        while courier.has_leftovers and sent.failure is None and sender.is_usable:
            courier.turn()
    finally:
        sender.end()
        courier.close()
    return sent
