"""When to cut a dataset and train. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from trainer.policies import Moment, Policies, Wait, reasons_to_wait


@dataclass
class Trigger:
    """Fires when so many new pairs are there and all that was known by then has been read; policies
    may hold it back, or have it fire with fewer pairs.

    Reading on to the known ends makes one dataset of a backlog, not a thousand trainings. The ends
    are taken down once, so that a stream which never pauses is cut as well.
    """

    pairs: int
    policies: Policies = field(default_factory=Policies)
    _goal: dict[int, int] = field(default_factory=dict)
    _seen: int = 0
    _tried_at: datetime | None = None

    def missing(self, new_pairs: int) -> int:
        """Pairs until the next dataset."""
        return max(0, self.pairs - max(0, new_pairs - self._seen))

    def waits(self, new_pairs: int, moment: Moment) -> list[Wait]:
        """Why it does not fire; what was tried in vain is as old as that try."""
        if self._tried_at is not None and moment.oldest_at is not None:
            moment = replace(moment, oldest_at=max(self._tried_at, moment.oldest_at))
        missing = self.missing(new_pairs)
        return reasons_to_wait(self.policies, moment, pairs=self.pairs, missing=missing)

    def fired(self, *, left: int, at: datetime | None = None) -> None:
        """Tell how many new pairs are left after a cut, and when that was: all of them where none
        could be taken, and the next try is due when as many more are there.
        """
        self._seen = left
        self._tried_at = at if left else None

    def fires(
        self,
        new_pairs: int,
        *,
        positions: Mapping[int, int],
        ends: Mapping[int, int],
        moment: Moment | None = None,
    ) -> bool:
        """Whether to cut now; positions and known ends by partition. Without a moment, by the count
        alone.
        """
        if self.missing(new_pairs) if moment is None else self.waits(new_pairs, moment):
            return False
        self._goal = self._goal or dict(ends)
        if not has_reached(positions, self._goal):
            return False
        self._goal = {}
        return True


def has_reached(positions: Mapping[int, int], ends: Mapping[int, int]) -> bool:
    """Whether every partition has been read to its end."""
    return all(positions[partition] >= end for partition, end in ends.items())
