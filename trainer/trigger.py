"""When to cut a dataset and train. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Trigger:
    """Cut when so many new pairs are there and no more are known to be on their way.

    Waiting for the end of the topic makes one dataset of a backlog, not a thousand trainings.
    """

    pairs: int

    def missing(self, new_pairs: int) -> int:
        """Pairs until the next dataset."""
        return max(0, self.pairs - new_pairs)

    def fires(self, new_pairs: int, *, caught_up: bool) -> bool:
        return caught_up and not self.missing(new_pairs)
