"""What a trial is to do, and what came of it."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from tests.chaos.checks import Found
from tests.chaos.schedule import Kind, Round, rounds

# Where two sessions are shorter than what a worker that was killed last takes on a busy machine to
# start and to take over, perhaps twice: there it may take itself for a zombie.
LEAST_LIVENESS_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a trial goes on and when it ends: after the first of what is set.

    `blows` counts those that found something to strike.
    """

    rate: float
    kinds: tuple[Kind, ...]
    session_seconds: float
    minutes: float | None = None
    blows: int | None = None
    most_rounds: int | None = None
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    is_leak_test: bool = False

    @property
    def liveness_seconds(self) -> float:
        """After the last blow, all must be worked off by then."""
        return max(2 * self.session_seconds, LEAST_LIVENESS_SECONDS)

    def rounds(
        self, seed: int, struck: Callable[[], int], seconds: Callable[[], float]
    ) -> Iterator[Round]:
        """Up to the end, of which `struck` and `seconds` tell how near it is.

        The last round has no more blows than are left.
        """
        for round_ in islice(rounds(seed, self.kinds), self.most_rounds):
            left = None if self.blows is None else self.blows - struck()
            if left is not None and left <= 0:
                return
            if self.minutes is not None and seconds() > self.minutes * 60:
                return
            yield dataclasses.replace(round_, blows=round_.blows[:left])


@dataclasses.dataclass
class Result:
    """What came of one seed; `figures` are for people and for --json."""

    seed: int
    folder: Path
    found: Found = dataclasses.field(default_factory=lambda: Found([]))
    blows: Counter[str] = dataclasses.field(default_factory=Counter)
    recoveries: dict[str, float] = dataclasses.field(default_factory=dict)
    ended: Counter[str] = dataclasses.field(default_factory=Counter)
    figures: dict[str, object] = dataclasses.field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return bool(self.found.wrong)
