"""How processes ended: as they were asked to, by themselves with a line, or by a defect. Pure."""

import re
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# What its own guard says, and what nobody caught.
DEFECT = re.compile(r"a defect in pairstream|^Traceback \(most recent call last\)", re.MULTILINE)
LINE = re.compile(r"^pairstream: (.*)$", re.MULTILINE)
VARIES = re.compile(r"\d+(\.\d+)?|\[[^\]]*\]")

# By SIGTERM: cleanly, or before the handlers were there.
STOPPED = (0, 128 + signal.SIGTERM, -signal.SIGTERM)
SELF_ENDED = 1


@dataclass(frozen=True)
class End:
    """One process that has ended."""

    name: str
    code: int
    asked: Sequence[signal.Signals]
    log: str

    @property
    def line(self) -> str:
        """What it said last to its user; numbers left out, so that equal ones can be counted."""
        lines = LINE.findall(self.log)
        return VARIES.sub("N", lines[-1]) if lines else ""


def check_end(end: End) -> str | None:
    """What is wrong with it, or nothing."""
    if defect := DEFECT.search(end.log):
        return f"{end.name} (exit {end.code}) shows a defect: {defect[0]}"
    if signal.SIGKILL in end.asked and end.code == -signal.SIGKILL:
        return None
    if signal.SIGTERM in end.asked and end.code in STOPPED:
        return None
    if end.code == SELF_ENDED and end.line:
        return None
    return f"{end.name} exited {end.code} after {[*map(int, end.asked)]}, saying {end.line!r}"


def tally(ends: Iterable[End]) -> Counter[str]:
    """Those that ended by themselves, by what they said."""
    return Counter(end.line for end in ends if end.code == SELF_ENDED)
