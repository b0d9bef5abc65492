"""What the brokers tell now, asked for in a thread, so that no page waits for them.

It asks only while somebody looks.
"""

import threading
import time
from collections import deque
from types import TracebackType
from typing import NamedTuple, Self

import structlog

from pairstream.cluster import Cluster
from pairstream.overview import Overview, read_overview
from pairstream.ui.flow import Flow, read_flow
from pairstream.ui.troubles import said, slip
from schemas.settings import TrainerSettings
from schemas.topics import Names

log = structlog.get_logger()

LOOK_SECONDS = 2.0
OVERVIEW_SECONDS = 10.0
KEPT = 90

# Without a look at a page for so long it rests.
REST_SECONDS = 30.0

ANSWER_SECONDS = 2.0
FRESH_SECONDS = 5.0
NEWEST = 20_000


class Sight(NamedTuple):
    """What was seen last. `overview` is null before the first answer, and without a cluster where
    no broker answers; `problem` says why.
    """

    overview: Overview | None
    flows: tuple[Flow, ...]
    problem: str | None


class Watch:
    """A context manager; `sight` is there at once, whatever the brokers do."""

    def __init__(self, settings: TrainerSettings) -> None:
        self._settings = settings
        self._names = Names(settings.topic_prefix)
        self._cluster = Cluster(settings)
        self._flows: deque[Flow] = deque(maxlen=KEPT)
        self._overview: Overview | None = None
        self._overview_at = -OVERVIEW_SECONDS
        self._problem: str | None = None
        self._looked_at = time.monotonic()
        # When the newest look began.
        self._seen_at = -1.0
        self._changed = threading.Condition()
        self._stop = False
        self._thread = threading.Thread(target=self._work, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        self._thread.join()

    def sight(self) -> Sight:
        """The newest one; asking keeps it up to date for a while. After a rest it waits for a new
        one: what was seen before is no sight of now.
        """
        with self._changed:
            has_rested = not self._is_looked_at()
            self._looked_at = asked = time.monotonic()
            self._changed.notify_all()
            if has_rested:
                self._changed.wait_for(lambda: self._seen_at >= asked, FRESH_SECONDS)
            return Sight(self._overview, tuple(self._flows), self._problem)

    def wait_for_first(self, seconds: float) -> None:
        """Until something was seen, or is known not to be."""
        with self._changed:
            self._changed.wait_for(lambda: self._seen_at >= 0, seconds)

    def _work(self) -> None:
        while not self._stop:
            began = time.monotonic()
            try:
                self._look(began)
            except Exception as error:  # noqa: BLE001 - its end would look as if all were well
                self._tell(error)
            with self._changed:
                self._seen_at = began
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._stop, LOOK_SECONDS)
                self._changed.wait_for(lambda: self._stop or self._is_looked_at())

    def _is_looked_at(self) -> bool:
        return time.monotonic() - self._looked_at < REST_SECONDS

    def _look(self, now: float) -> None:
        self._cluster.partitions(wait_seconds=ANSWER_SECONDS)
        if self._overview is None or now - self._overview_at >= OVERVIEW_SECONDS:
            overview = read_overview(self._settings, self._cluster, newest=NEWEST)
            with self._changed:
                self._overview, self._overview_at = overview, now
        flow = read_flow(self._cluster, self._names, self._taken_in(), at=time.monotonic())
        with self._changed:
            self._flows.append(flow)
            self._problem = None

    def _taken_in(self) -> dict[int, int] | None:
        """The trainer's positions, where the data directory is filled from this topic."""
        overview = self._overview
        if overview is None or overview.cluster is None:
            return None
        by_segments = overview.cluster.trainer.position_from == "segments"
        return overview.data_dir.positions if by_segments else None

    def _tell(self, error: Exception) -> None:
        """What files tell stands in for what the brokers told before, which is no sight of now."""
        problem, slips = said(error), [slip(error)]
        try:
            overview = read_overview(self._settings, None, newest=NEWEST)
        except Exception as another:  # noqa: BLE001 - it is told too
            overview, problem = None, f"{problem}; and {said(another)}"
            slips.append(slip(another))
        if problem != self._problem:
            for each in filter(None, slips):
                log.error("look_failed", exc_info=each)
        with self._changed:
            self._problem, self._overview = problem, overview
            self._overview_at = -OVERVIEW_SECONDS
            self._flows.clear()
