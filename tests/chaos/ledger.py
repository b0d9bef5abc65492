"""What became of every send: acknowledged at a place, or unknown. Nothing is ever called failed
that may have arrived.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson

from tests.chaos.made_runs import Sending

# The header by which a record in the topic is known again.
HEADER = "chaos-send"

Place = tuple[int, int]


@dataclass
class Entry:
    """One send; `place` is None until it is acknowledged, `offset` -1 where the broker told none.

    A delivery error leaves it unknown: the record may stand in the log all the same. Only what was
    never handed to the client is `refused`.
    """

    send_id: str
    digest: str
    is_bad: bool
    place: Place | None = None
    error: str | None = None
    refused: bool = False

    @property
    def state(self) -> str:
        if self.refused:
            return "refused"
        return "unknown" if self.place is None else "acknowledged"


class Ledger:
    """Entries by their id. Thread-safe."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._lock = threading.Lock()

    def open(self, send_id: str, sending: Sending) -> Entry:
        """Before the record is handed to the client."""
        entry = Entry(send_id, content_digest(sending.key, sending.value), sending.is_bad)
        with self._lock:
            self._entries[send_id] = entry
        return entry

    def add(self, entries: Iterable[Entry]) -> None:
        """Those of an agent that kept its own."""
        with self._lock:
            self._entries |= {entry.send_id: entry for entry in entries}

    @property
    def entries(self) -> list[Entry]:
        with self._lock:
            return list(self._entries.values())

    def write(self, path: Path) -> None:
        path.write_bytes(b"".join(orjson.dumps(entry) + b"\n" for entry in self.entries))


def counts(entries: Iterable[Entry]) -> Counter[str]:
    return Counter(entry.state for entry in entries)


def content_digest(key: bytes | None, value: bytes | None) -> str:
    """Of a record as it was sent; tells an absent part from an empty one."""
    return hashlib.sha256(repr((key, value)).encode()).hexdigest()[:16]
