"""What datasets did not take, by their lists, and where a pair must stand for it.

Memory: an id for each pair that is listed.
"""

from dataclasses import dataclass, field

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
