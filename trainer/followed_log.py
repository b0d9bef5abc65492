"""Brings `training.log` up to date with a container's log, whose lines begin with a timestamp."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from trainer.layout import open_no_link
from trainer.training_manifest import LOG

_STAMP = re.compile(r"(.{10}T[\d:]{8})(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")

LinesSince = Callable[[datetime | None], Iterable[str]]


class FollowedLog:
    """The log of one training, as one trainer copies it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG
        self._newest = ""

    def copy(self, lines_since: LinesSince) -> None:
        """Append what is new; the first time, write all anew: a predecessor may have died at it.

        `lines_since`: the lines from a whole second on, or all; where it raises, nothing changes.
        """
        since = datetime.fromisoformat(self._newest[:19] + "Z") if self._newest else None
        lines = lines_since(since)
        is_new = since is None
        with open_no_link(self._path, "ab" if since else "wb") as file:
            for line in lines:
                stamp, _, text = line.partition(" ")
                moment = in_utc(stamp)
                if moment is None:  # the rest of a long line has none
                    text = line
                else:
                    is_new = moment > self._newest
                if is_new:
                    file.write(text.encode() + b"\n")
                    self._newest = moment or self._newest


def lines_of(log: bytes) -> list[str]:
    """By newlines alone: agents' text may hold what else counts as the end of a line."""
    lines = log.decode(errors="replace").split("\n")
    return lines if lines[-1] else lines[:-1]


def in_utc(stamp: str) -> str | None:
    """The moment of an RFC 3339 timestamp, with nanoseconds: in this form text sorts as time does.

    None of what is no timestamp.
    """
    parts = _STAMP.fullmatch(stamp)
    if parts is None:
        return None
    try:
        seconds = datetime.fromisoformat(parts[1] + parts[3]).astimezone(UTC)
    except ValueError:
        return None
    return f"{seconds:%Y-%m-%dT%H:%M:%S}.{parts[2] or '':0<9}"
