"""Stories of runs, read from the topics in a thread while the page already stands.

A story takes as long as the run's partitions are; it is kept for the next look at the page.
"""

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
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


class Reading(NamedTuple):
    """A story, why there is none, or, with neither, how many records were read for it so far."""

    story: Story | None
    problem: str | None
    records: int


class _Stopped(Exception):
    """The site ends, and nobody waits for the story."""


class _Job:
    def __init__(self) -> None:
        self.records = 0
        self.done: Future[Story]


class Stories:
    """A context manager; one story is read at a time."""

    def __init__(self, settings: WorkerSettings, data: DataSettings) -> None:
        self._settings = settings
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

    def read(self, run_id: str, *, anew: bool = False) -> Reading:
        """Start reading, or say how far it is."""
        job = self._job(run_id, anew=anew)
        try:
            return Reading(job.done.result(FIRST_SECONDS), None, job.records)
        except NotYet:
            return Reading(None, None, job.records)
        except PairstreamError as error:
            self._forget(run_id)
            return Reading(None, str(error), job.records)

    def _job(self, run_id: str, *, anew: bool) -> _Job:
        with self._lock:
            job = self._jobs.get(run_id)
            if job is None or (anew and job.done.done()):
                job = _Job()
                job.done = self._pool.submit(self._read, run_id, job)
                self._jobs[run_id] = job
            self._jobs.move_to_end(run_id)
            while len(self._jobs) > KEPT:
                _, oldest = self._jobs.popitem(last=False)
                oldest.done.cancel()
            return job

    def _forget(self, run_id: str) -> None:
        """What failed is tried again by the next look."""
        with self._lock:
            self._jobs.pop(run_id, None)

    def _read(self, run_id: str, job: _Job) -> Story:
        read_by_topic: dict[str, int] = {}

        def progress(topic: str, records: int) -> None:
            if self._stop.is_set():
                raise _Stopped
            read_by_topic[topic] = records
            job.records = sum(read_by_topic.values())

        places = PairPlaces(self._data)
        return read_story(self._settings, run_id, places, full=True, progress=progress)
