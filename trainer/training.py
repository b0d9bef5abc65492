"""One training from a published dataset to an archived model, resumable at every step.

Guarantee: its script runs to its end once, whatever is killed when; `manifest.json` says how it
ended and stands there only when it has; a successful training has its archive when the archive's
checksum file is there. A script that its engine interrupts is started again, within bounds.
"""

import shutil
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from schemas.crash_points import crash_point
from schemas.rows import TrainingStepName
from schemas.settings import TrainingSettings
from trainer.alone import alone
from trainer.base_model import base_model_of
from trainer.cancelling import WISH, Leave, TrainingCancelled
from trainer.card import write_card
from trainer.datasets import DatasetManifest, read_manifest, verify_dataset
from trainer.gate_command import gate_words
from trainer.gpu import gpu_held, gpu_lock
from trainer.image import training_context
from trainer.launcher import ASKED_TO_END, KILLED, Ended, Launcher, Plan
from trainer.layout import MANIFEST, make_folder, sync_folder
from trainer.progress import OnProgress, ProgressWatch
from trainer.publishing import OnStep, archive_of, judged, publish
from trainer.recipe import method_flags, recipe_flags
from trainer.room import check_room
from trainer.rounds import previous_round
from trainer.starting import (
    first_start,
    known_start,
    put_back,
    refuse_another_dataset,
    start,
)
from trainer.steps import forget_wait, note_step, note_wait
from trainer.training_manifest import (
    METRICS,
    STARTED,
    Started,
    TrainingManifest,
    how_it_ended,
    read_started,
    read_training,
    write_started,
    write_training,
)

log = structlog.get_logger()

POLL_SECONDS = 0.5

MOST_INTERRUPTIONS = 2  # more would hide that something ends it each time


@dataclass(frozen=True)
class TrainingRequest:
    """What is to be trained, and where its folder `models/<training_id>` lies.

    `plan`: where the settings do not say how; what comes of such a training is not published.
    """

    training_id: str
    directory_id: str
    dataset: Path
    models: Path
    plan: Plan | None = None

    @property
    def folder(self) -> Path:
        return self.models / self.training_id

    @property
    def archive(self) -> Path:
        return archive_of(self.models, self.training_id)

    def is_done(self) -> bool:
        """Whether nothing is left to do for it."""
        return (self.folder / MANIFEST).exists() and not (self.folder / STARTED).exists()


def run_training(
    request: TrainingRequest,
    settings: TrainingSettings,
    launcher: Launcher,
    *,
    on_step: OnStep,
    stop: threading.Event,
    on_progress: OnProgress = lambda _: None,
) -> TrainingManifest:
    """Train, archive, clean up; blocks until it has ended. A step may be told twice after a crash.

    Raises:
        EngineUnavailable: it cannot go on now; trying later may help.
        TrainingInterrupted: `stop` was set while it ran; it goes on running.
        PairstreamError: dataset or base model are not what they should be.
    """
    dataset = verify_dataset(request.dataset)
    plan = request.plan or _plan(request, settings)
    make_folder(plan.folder)

    def tell(step: TrainingStepName, detail: str | None) -> None:
        note_step(plan.folder, step, detail)
        on_step(step, detail)

    with alone(plan):
        manifest = read_training(plan.folder)
        if manifest is None:
            manifest = _train(plan, dataset, launcher, tell, on_progress, stop)
        crash_point("training.ended")
        if manifest.succeeded and request.plan is None:
            publish(request.models, manifest, tell)
        launcher.clean_up(plan)
        crash_point("training.cleaned_up")
        tell("cleaned", None)
        crash_point("training.cleaned_told")
        tell("succeeded" if manifest.succeeded else "failed", manifest.why)
        crash_point("training.told")
        forget_wait(plan.folder)
        (plan.folder / WISH).unlink(missing_ok=True)
        crash_point("training.wish_gone")
        (plan.folder / STARTED).unlink(missing_ok=True)
        sync_folder(plan.folder)
        crash_point("training.done")
    return manifest


def _plan(request: TrainingRequest, settings: TrainingSettings) -> Plan:
    method = method_flags(read_manifest(request.dataset))
    wanted = str(settings.base_model)
    # Into the adapter goes a name that means something elsewhere: the hub's or the folder's.
    name = Path(wanted).absolute().name if Path(wanted).is_dir() else wanted
    return Plan(
        training_id=request.training_id,
        directory_id=request.directory_id,
        dataset=request.dataset.absolute(),
        base_model=base_model_of(settings),
        folder=request.folder.absolute(),
        arguments=["--base-model-name", name, *method, *recipe_flags(settings)],
        settings=settings,
        context=training_context(),
        previous=previous_round(request.folder, settings, name),
    )


def _train(
    plan: Plan,
    dataset: DatasetManifest,
    launcher: Launcher,
    tell: OnStep,
    on_progress: OnProgress,
    stop: threading.Event,
) -> TrainingManifest:
    """Its manifest, written: until then it can be cancelled."""
    leave = Leave(stop, plan.folder)
    try:
        leave.check()
        manifest = _trained(plan, dataset, launcher, tell, on_progress, leave)
    except TrainingCancelled as cancelled:
        manifest = _cancelled(plan, dataset, launcher, tell, str(cancelled))
    write_training(plan.folder, manifest)
    return manifest


def _trained(
    plan: Plan,
    dataset: DatasetManifest,
    launcher: Launcher,
    tell: OnStep,
    on_progress: OnProgress,
    leave: Leave,
) -> TrainingManifest:
    def progress(line: str) -> None:
        log.info("training_prepared", training_id=plan.training_id, step=line)
        leave.check()

    def runs() -> bool:
        return read_started(plan.folder) is not None and launcher.poll(plan) is None

    def waits(why: str) -> None:
        if note_wait(plan.folder, why):
            log.info("training_waits", training_id=plan.training_id, why=why)

    refuse_another_dataset(plan, dataset)
    words = gate_words(plan.settings.gate_command)
    if read_started(plan.folder) is None:
        check_room(plan)
    plan.context.write(plan.folder / "context")
    tell("requested", None)
    crash_point("training.requested")
    tell("building", plan.context.tag)
    crash_point("training.building")
    image = launcher.prepare(plan, progress)
    leave.check()
    crash_point("training.prepared")
    with gpu_held(gpu_lock(plan.settings), runs=runs, leave=leave, on_wait=waits):
        started = start(plan, dataset, launcher, image)
        crash_point("training.started")
        forget_wait(plan.folder)
        tell("started", started.detail)
        ended = _follow(plan, launcher, started, on_progress, leave)
        crash_point("training.script_ended")
        if ended.interrupted and started.interruptions < MOST_INTERRUPTIONS:
            put_back(plan, launcher, started, ended, most=MOST_INTERRUPTIONS)
        tell("finished", f"exit code {ended.code}")
        crash_point("training.finished_told")
        manifest = how_it_ended(plan, dataset, started, ended)
        if manifest.succeeded:
            verdict = judged(plan, manifest, words, leave)
            manifest = msgspec.structs.replace(manifest, gate=verdict)
            _remove_checkpoints(plan)
            manifest = write_card(plan.folder, manifest, dataset)
    return manifest


def _cancelled(
    plan: Plan, dataset: DatasetManifest, launcher: Launcher, tell: OnStep, why: str
) -> TrainingManifest:
    """End its script, where it was started; it will not go on from its checkpoints."""
    known = known_start(plan, launcher)
    started = known or first_start(plan, dataset, launcher, "none")
    code = ASKED_TO_END
    if known is None:
        tell("requested", None)
        write_started(plan.folder, started)
        crash_point("training.never_started")
    else:
        launcher.stop(plan)
        crash_point("training.stopped")
        ended = launcher.poll(plan)
        code = (ended and ended.code) or ASKED_TO_END
    _remove_checkpoints(plan)
    log.info("training_cancelled", training_id=plan.training_id, why=why)
    return how_it_ended(plan, dataset, started, Ended(code, why))


def _remove_checkpoints(plan: Plan) -> None:
    shutil.rmtree(plan.folder / "checkpoints", ignore_errors=True)


def _follow(
    plan: Plan,
    launcher: Launcher,
    started: Started,
    on_progress: OnProgress,
    leave: Leave,
) -> Ended:
    limit = plan.settings.training_deadline_seconds
    watch = ProgressWatch(plan.folder / METRICS)
    while True:
        ended = launcher.poll(plan)
        if (progress := watch.look()) is not None:  # after the end, of the last step too
            on_progress(progress)
        if ended is not None and not started.is_late:
            return ended
        leave.wait(POLL_SECONDS)
        leave.check()
        if started.is_late or (datetime.now(UTC) - started.at).total_seconds() > limit:
            # Else who comes after us would take it for interrupted, and start it again.
            write_started(plan.folder, msgspec.structs.replace(started, is_late=True))
            crash_point("training.late")
            launcher.stop(plan)
            ended = launcher.poll(plan) or Ended(KILLED)
            return Ended(ended.code or KILLED, f"it took longer than {limit:g} s")
