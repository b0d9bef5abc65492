"""When to cut a dataset and train. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Trigger:
    """Fires when so many new pairs are there and all that was known by then has been read.

    Reading on to the known ends makes one dataset of a backlog, not a thousand trainings. The ends
    are taken down once, so that a stream which never pauses is cut as well.
    """

    pairs: int
    _goal: dict[int, int] = field(default_factory=dict)
    _seen: int = 0

    def missing(self, new_pairs: int) -> int:
        """Pairs until the next dataset."""
        return max(0, self.pairs - (new_pairs - self._seen))

    def fired(self, *, left: int) -> None:
        """Tell how many new pairs are left after a cut: all of them where none could be taken, and
        the next try is due when as many more are there.
        """
        self._seen = left

    def fires(
        self, new_pairs: int, *, positions: Mapping[int, int], ends: Mapping[int, int]
    ) -> bool:
        """Whether to cut now; positions and known ends by partition."""
        if self.missing(new_pairs):
            return False
        self._goal = self._goal or dict(ends)
        if not has_reached(positions, self._goal):
            return False
        self._goal = {}
        return True


def has_reached(positions: Mapping[int, int], ends: Mapping[int, int]) -> bool:
    """Whether every partition has been read to its end."""
    return all(positions[partition] >= end for partition, end in ends.items())
