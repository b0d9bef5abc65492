"""What datasets did not take, by their lists, and where a pair must stand for it; what they took
must keep to the shares of their settings.

Memory: an id for each pair that is listed; a count for each agent and task where they are capped.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from pairstream.verify.segments import Line
from trainer.selection import CutSettings

# Reasons that another dataset may not have; the others are for good.
WAITING = ("garbled_share", "agent_share", "task_share")

NOWHERE = -1


@dataclass
class Fates:
    """Datasets by their numbers from 0.

    Attributes:
        waited: the first and the last dataset in whose lists a pair waits.
        left: the dataset that left it out for good.
    """

    waited: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    left: dict[bytes, int] = field(default_factory=dict)

    def note(self, pair_id: bytes, number: int, *, waits: bool) -> None:
        """Take in a line of a dataset's list; datasets come in order."""
        first, last = self.waited.get(pair_id, (number, number - 1))
        if pair_id in self.left or last != number - 1:
            first = NOWHERE  # it was no candidate here
        if waits or first == NOWHERE:
            self.waited[pair_id] = (first, number)
        else:
            self.left[pair_id] = number

    def take(self, pair_id: bytes, cut_into: int | None, datasets: int) -> tuple[int | None, bool]:
        """Where a pair of a segment that was cut into a dataset must stand (null: in none), and
        whether only datasets list it of which it was a candidate. Lets go of it.
        """
        first, last = self.waited.pop(pair_id, (None, 0))
        left = self.left.pop(pair_id, None)
        number = cut_into if first is None else last + 1
        is_candidate = first in (None, cut_into) and left in (None, number)
        return (None if number in (left, datasets) else number), is_candidate


class Shares:
    """How much of a dataset is garbled, of one agent, or of one task, where that is capped."""

    def __init__(self, settings: CutSettings) -> None:
        caps = {"garbled": settings.max_garbled_share, "agent": settings.max_agent_share,
                "task": settings.max_task_share}  # fmt: skip
        self._caps = {name: cap for name, cap in caps.items() if cap < 1}
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in self._caps}

    def add(self, row: Line) -> None:
        groups = {"garbled": row.garbler and "yes", "agent": row.agent_id, "task": row.task_id}
        for name, counts in self._counts.items():
            group = groups[name]
            if group is not None:
                counts[group] += 1

    def exceeded(self, pairs: int) -> Iterator[str]:
        """Names of the caps that do not hold of so many pairs."""
        for name, counts in self._counts.items():
            if max(counts.values(), default=0) > Fraction(str(self._caps[name])) * pairs:
                yield name
