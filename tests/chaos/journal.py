"""What an agent that may be killed at any moment writes down of its sends, line by line."""

import os
from collections.abc import Mapping
from pathlib import Path

import orjson

from tests.chaos.ledger import Entry, content_digest
from tests.chaos.made_runs import Sending


class Journal:
    """Each line is handed to the system at once, so it survives a SIGKILL of its writer."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def open(self, send_id: str, sending: Sending) -> None:
        """Before the record is handed to the client."""
        digest = content_digest(sending.key, sending.value)
        self._write({"open": send_id, "digest": digest, "is_bad": sending.is_bad})

    def refuse(self, send_id: str, why: str) -> None:
        """The client has not taken it."""
        self._write({"refused": send_id, "why": why})

    def acknowledge(self, partitions: Mapping[str, int]) -> None:
        """By send, where it is; the client library does not tell the offset."""
        self._write({"acknowledged": partitions})

    def _write(self, line: Mapping[str, object]) -> None:
        os.write(self._file, orjson.dumps(line) + b"\n")


def read_journal(path: Path) -> list[Entry]:
    """What is neither acknowledged nor refused is unknown."""
    entries: dict[str, Entry] = {}
    for line in map(orjson.loads, path.read_bytes().splitlines()):
        if "open" in line:
            entries[line["open"]] = Entry(line["open"], line["digest"], line["is_bad"])
        elif "refused" in line:
            refused = entries[line["refused"]]
            refused.refused, refused.error = True, line["why"]
        else:
            for send_id, partition in line["acknowledged"].items():
                entries[send_id].place = (partition, -1)
    return list(entries.values())
