"""Has every dataset trained once, oldest first, one at a time, beside the intake."""

import threading
from types import TracebackType
from typing import Self

import msgspec
import structlog

from schemas.errors import PairstreamError
from schemas.rows import TrainingStepName
from schemas.settings import TrainerSettings
from trainer.cancelling import TrainingInterrupted
from trainer.datasets import read_manifest
from trainer.forgotten import read_mark, without_forgotten
from trainer.launcher import EngineUnavailable, make_launcher
from trainer.layout import DataDir, make_folder, sync_folder
from trainer.outbox import Outbox
from trainer.progress import TrainingProgress, progress_line, seldom
from trainer.recipe import Method
from trainer.steps import note_wait
from trainer.training import TrainingRequest, run_training

log = structlog.get_logger()

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 5.0, 300.0

# What cannot be interrupted, such as packing an archive, is done again by the next start.
LEAVE_SECONDS = 5.0

PROGRESS_SECONDS = 30.0  # between two lines of the log, and two steps `progress`


def training_id(dataset: str, method: Method = "dpo") -> str:
    """The training that the trainer itself starts for a dataset, or a user by another method."""
    return f"{method}-{dataset}"


def pending(data: DataDir, directory_id: str) -> list[TrainingRequest]:
    """Trainings of published datasets that have not come to their end, oldest first."""
    requests = (
        TrainingRequest(training_id(name), directory_id, data.datasets / name, data.models)
        for name in data.dataset_names()
    )
    return [request for request in requests if not request.is_done()]


def _make_newest_safe(data: DataDir) -> None:
    """What is read in its folder may be what a killed trainer wrote last, and did not sync."""
    folders = [data.models / training_id(name) for name in data.dataset_names()]
    begun = [folder for folder in folders if folder.is_dir()]
    if begun:
        sync_folder(begun[-1])


class Trainings:
    """A thread that works off what is pending; `check` raises what it died of."""

    def __init__(
        self,
        data: DataDir,
        settings: TrainerSettings,
        directory_id: str,
        outbox: Outbox,
        *,
        once: bool,
    ) -> None:
        self._data = data
        self._settings = settings
        self._directory_id = directory_id
        self._outbox = outbox
        self._once = once
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._to_look = self._settings.launcher != "none"
        self._idle = not self._to_look
        self._error: Exception | None = None
        self._failed: list[str] = []
        self._thread = threading.Thread(target=self._work, name="trainings", daemon=True)

    def __enter__(self) -> Self:
        if self._settings.launcher != "none":
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop following; a training that runs goes on without us."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(LEAVE_SECONDS)

    def wake(self) -> None:
        """Look again for what is pending."""
        if self._settings.launcher != "none":
            with self._changed:
                self._to_look, self._idle = True, False
                self._changed.notify_all()

    def check(self) -> None:
        """Raises: what ended the thread."""
        if self._error is not None:
            raise self._error

    def wait(self, stop: threading.Event) -> None:
        """Wait until nothing is pending.

        Raises: PairstreamError when a training failed.
        """
        while not self._idle and not stop.wait(0.1):
            self.check()
        if self._failed:
            raise PairstreamError(f"a training failed: {self._failed[0]}")

    def _work(self) -> None:
        try:
            self._work_off()
        except TrainingInterrupted:
            return
        except Exception as error:  # noqa: BLE001 - `check` raises it where it is seen
            self._error = error

    def _work_off(self) -> None:
        retry_seconds = FIRST_WAIT_SECONDS
        while not self._stop.is_set():
            try:
                self.train_pending()
            except EngineUnavailable as error:
                if self._once:
                    raise
                log.warning("training_postponed", why=str(error), seconds=retry_seconds)
                self._rest(retry_seconds)
                retry_seconds = min(LONGEST_WAIT_SECONDS, 2 * retry_seconds)
            else:
                self._rest(None)
                retry_seconds = FIRST_WAIT_SECONDS

    def _rest(self, seconds: float | None) -> None:
        """Until `wake` or the end; at most `seconds` where something is to be tried again."""
        with self._changed:
            self._idle = seconds is None and not self._to_look
            self._changed.wait_for(lambda: self._stop.is_set() or self._to_look, seconds)

    def train_pending(self) -> None:
        """Work off what is pending now, in the caller's thread."""
        with self._changed:
            self._to_look = False
        _make_newest_safe(self._data)
        for request in pending(self._data, self._directory_id):
            if self._stop.is_set():
                return
            try:
                self._train(request)
            except EngineUnavailable as error:
                make_folder(request.folder)
                note_wait(request.folder, str(error))
                raise

    def _warn_of_forgotten(self, request: TrainingRequest) -> None:
        mark = read_mark(request.dataset)
        if mark is not None:
            instead = without_forgotten(self._data, request.dataset.name)
            log.warning(
                "dataset_holds_forgotten_runs",
                training_id=request.training_id,
                runs=len(mark.runs),
                without_them=str(instead) if instead else None,
            )

    def _train(self, request: TrainingRequest) -> None:
        dataset = read_manifest(request.dataset)
        self._warn_of_forgotten(request)

        def on_step(step: TrainingStepName, detail: str | None) -> None:
            log.info(f"training_{step}", training_id=request.training_id, detail=detail)
            self._outbox.step(request.training_id, step, dataset, detail)

        def log_progress(progress: TrainingProgress) -> None:
            log.info(
                "training_progress",
                training_id=request.training_id,
                **msgspec.structs.asdict(progress.newest),
                seconds_left=progress.seconds_left,
            )

        def tell_progress(progress: TrainingProgress) -> None:
            line = progress_line(progress)
            self._outbox.step(request.training_id, "progress", dataset, line)

        logged = seldom(log_progress, PROGRESS_SECONDS)
        told = seldom(tell_progress, PROGRESS_SECONDS, always_last=False)

        def on_progress(progress: TrainingProgress) -> None:
            logged(progress)
            told(progress)

        launcher = make_launcher(self._settings, self._data.training_venv)
        manifest = run_training(
            request,
            self._settings,
            launcher,
            on_step=on_step,
            stop=self._stop,
            on_progress=on_progress,
        )
        if not manifest.succeeded:
            self._failed.append(f"{request.training_id}: {manifest.why}")
