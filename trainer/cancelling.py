"""A wish to cancel a training, by a file in its folder that outlives whoever works on it.

It holds until the training's manifest is written: what has ended cannot be cancelled any more.
"""

import threading
from dataclasses import dataclass
from pathlib import Path

from schemas.printable import printable
from trainer.layout import open_to_read, write_durably

WISH = ".cancel"

WHY_CHARACTERS = 300


class TrainingInterrupted(Exception):
    """The trainer stops; the training goes on, and the next start follows it."""


class TrainingCancelled(Exception):
    """Somebody wants it to end; the message says why."""


def wish_to_cancel(folder: Path, why: str) -> None:
    """Ask for it; the folder is there, and whoever trains in it looks by itself."""
    write_durably(folder / WISH, why.encode())


def is_cancelled(folder: Path) -> bool:
    return (folder / WISH).exists()


def why_cancelled(folder: Path) -> str:
    """What the manifest says of it, on one line; the training itself may have written it."""
    try:
        with open_to_read(folder / WISH) as file:
            told = file.read(4 * WHY_CHARACTERS).decode(errors="replace")
    except FileNotFoundError:
        told = ""
    why = told.strip()[:WHY_CHARACTERS]
    return f"cancelled: {printable(why)}" if why else "cancelled"


@dataclass(frozen=True)
class Leave:
    """Why to leave a training that runs: the trainer stops, or somebody cancelled it."""

    stop: threading.Event
    folder: Path

    def is_set(self) -> bool:
        return self.stop.is_set() or is_cancelled(self.folder)

    def wait(self, timeout: float) -> bool:
        """So many seconds, or until the trainer stops; whether to leave."""
        return self.stop.wait(timeout) or is_cancelled(self.folder)

    def reason(self) -> TrainingInterrupted | TrainingCancelled:
        """A trainer that stops leaves the rest, the wish too, to its successor."""
        if self.stop.is_set():
            return TrainingInterrupted()
        return TrainingCancelled(why_cancelled(self.folder))

    def check(self) -> None:
        """Raises: the reason, if there is one."""
        if self.is_set():
            raise self.reason()
