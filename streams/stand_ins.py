"""When `corrupt` stands in for a model: why, how often, and when the model is left alone."""

import time
from collections import Counter
from collections.abc import Callable

import structlog

log = structlog.get_logger()

# So many failures in a row, and the model is left alone for a while: who is down or swamped is not
# helped by more requests, and garbled pairs need not wait for each time-out.
FAILURES_IN_A_ROW = 5
REST_SECONDS = 30.0

WARNING_SECONDS = 60.0


class StandIns:
    """Counts reasons, and warns at most once in `WARNING_SECONDS`, at once the first time."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.reasons: Counter[str] = Counter()
        self.sampled = 0
        self._now = now
        self._told = Counter[str]()
        self._quiet_until = 0.0

    def took(self) -> None:
        self.sampled += 1

    def stood_in(self, reason: str) -> None:
        self.reasons[reason] += 1
        now = self._now()
        if now < self._quiet_until:
            return
        self._quiet_until = now + WARNING_SECONDS
        log.warning(
            "corrupt_stands_in",
            why=dict(self.reasons - self._told),
            since_start=self.reasons.total(),
            sampled_since_start=self.sampled,
        )
        self._told = self.reasons.copy()


class Rest:
    """Whether a model that failed several times in a row is to be asked again."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures = 0
        self._until = 0.0

    @property
    def is_on(self) -> bool:
        return self._now() < self._until

    def failed(self) -> None:
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW:
            self._until = self._now() + REST_SECONDS

    def answered(self) -> None:
        self._failures = 0
