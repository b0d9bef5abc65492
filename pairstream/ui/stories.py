"""Stories of runs, read from the topics in a thread while the page already stands.

A story takes as long as the run's partitions are; it is kept for the next look at the page.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from types import TracebackType
from typing import NamedTuple, Self

from pairstream.pair_places import PairPlaces
from pairstream.story import Story, read_story
from schemas.errors import PairstreamError
from schemas.settings import DataSettings, WorkerSettings
from trainer.layout import DataDir

KEPT = 8

# A small deployment's story is there by then, and the page comes whole at once.
FIRST_SECONDS = 0.1

# An older story is read again: the run may have gone on since.
FRESH_SECONDS = 20.0


class Reading(NamedTuple):
    """A story, why there is none, or, with neither, how many records were read for it so far.

    `is_current`: nothing is being read; else the story, if there is one, is an older one.
    """

    story: Story | None
    problem: str | None
    records: int
    is_current: bool


class _Stopped(Exception):
    """The site ends, and nobody waits for the story."""


class _Job:
    """`before` is the story that it takes the place of; `is_settled`: as the index had it."""

    def __init__(self, before: Story | None, *, is_settled: bool) -> None:
        self.records = 0
        self.before = before
        self.is_settled = is_settled
        self.ended_at = math.inf
        self.done: Future[Story]


class Stories:
    """A context manager; one story is read at a time."""

    def __init__(
        self,
        settings: WorkerSettings,
        data: DataSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._data = DataDir(data.data_dir)
        self._jobs: OrderedDict[str, _Job] = OrderedDict()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="story")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def read(self, run_id: str, *, is_settled: bool = False) -> Reading:
        """Say what is known, and start reading what is not, or is no longer true.

        Args:
            is_settled: whether the index has an outcome of the run.
        """
        job = self._job(run_id, lambda job: self._is_old(job, is_settled), is_settled)
        try:
            story = job.done.result(FIRST_SECONDS)
            job.before = None
            return Reading(story, None, job.records, is_current=True)
        # It is let go where others were looked at since, and begun again by the next look.
        except (NotYet, CancelledError, _Stopped):
            return Reading(job.before, None, job.records, is_current=False)
        except PairstreamError as error:
            self._forget(run_id, job)
            return Reading(None, str(error), job.records, is_current=True)
        except Exception:
            self._forget(run_id, job)
            raise

    def known(self, run_id: str) -> Story | None:
        """The story that a page has shown, however old it is."""
        with self._lock:
            job = self._jobs.get(run_id)
        if job is None:
            return None
        is_there = job.done.done() and not job.done.cancelled() and job.done.exception() is None
        return job.done.result() if is_there else job.before

    def read_anew(self, run_id: str, *, is_settled: bool) -> None:
        """Start reading, unless that goes on."""
        self._job(run_id, lambda _: True, is_settled)

    def _is_old(self, job: _Job, is_settled: bool) -> bool:
        return is_settled > job.is_settled or self._clock() - job.ended_at > FRESH_SECONDS

    def _job(self, run_id: str, is_old: Callable[[_Job], bool], is_settled: bool) -> _Job:
        before = self.known(run_id)
        with self._lock:
            job = self._jobs.get(run_id)
            if job is None or (job.done.done() and is_old(job)):
                job = _Job(before, is_settled=is_settled)
                job.done = self._pool.submit(self._read, run_id, job)
                self._jobs[run_id] = job
            self._jobs.move_to_end(run_id)
            self._let_go()
            return job

    def _let_go(self) -> None:
        """Of those looked at longest ago; what is being read now would only be read again."""
        idle = [run_id for run_id, job in self._jobs.items() if not job.done.running()]
        for run_id in idle[: max(0, len(self._jobs) - KEPT)]:
            self._jobs.pop(run_id).done.cancel()

    def _forget(self, run_id: str, job: _Job) -> None:
        """What failed is tried again by the next look."""
        with self._lock:
            if self._jobs.get(run_id) is job:
                del self._jobs[run_id]

    def _read(self, run_id: str, job: _Job) -> Story:
        read_by_topic: dict[str, int] = {}

        def progress(topic: str, records: int) -> None:
            if self._stop.is_set():
                raise _Stopped
            read_by_topic[topic] = records
            job.records = sum(read_by_topic.values())

        try:
            places = PairPlaces(self._data)
            return read_story(self._settings, run_id, places, full=True, progress=progress)
        finally:
            job.ended_at = self._clock()
