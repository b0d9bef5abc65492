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
from typing import NoReturn

import msgspec
import structlog

from schemas.crash_points import crash_point
from schemas.errors import PairstreamError
from schemas.settings import TrainingSettings
from trainer.alone import alone
from trainer.base_model import resolve_base_model
from trainer.card import write_card
from trainer.datasets import DatasetManifest, read_manifest, verify_dataset
from trainer.gate_command import gate_words
from trainer.image import training_context
from trainer.launcher import Ended, EngineUnavailable, Launcher, Plan
from trainer.layout import MANIFEST, make_folder, sync_folder
from trainer.progress import OnProgress, ProgressWatch
from trainer.publishing import OnStep, archive_of, judged, publish
from trainer.recipe import method_flags, recipe_flags
from trainer.rounds import previous_round
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


class TrainingInterrupted(Exception):
    """The trainer stops; the training goes on, and the next start follows it."""


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
    with alone(plan):
        manifest = read_training(plan.folder)
        if manifest is None:
            manifest = _train(plan, dataset, launcher, on_step, on_progress, stop)
        crash_point("training.ended")
        if manifest.succeeded and request.plan is None:
            publish(request.models, manifest, on_step)
        launcher.clean_up(plan)
        crash_point("training.cleaned_up")
        on_step("succeeded" if manifest.succeeded else "failed", manifest.why)
        crash_point("training.told")
        (plan.folder / STARTED).unlink(missing_ok=True)
        sync_folder(plan.folder)
        crash_point("training.done")
    return manifest


def _plan(request: TrainingRequest, settings: TrainingSettings) -> Plan:
    method = method_flags(read_manifest(request.dataset))
    base_model = resolve_base_model(settings.base_model)
    wanted = str(settings.base_model)
    # Into the adapter goes a name that means something elsewhere: the hub's or the folder's.
    name = base_model.name if Path(wanted).is_dir() else wanted
    return Plan(
        training_id=request.training_id,
        directory_id=request.directory_id,
        dataset=request.dataset.absolute(),
        base_model=base_model,
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
    on_step: OnStep,
    on_progress: OnProgress,
    stop: threading.Event,
) -> TrainingManifest:
    def progress(line: str) -> None:
        log.info("training_prepared", training_id=plan.training_id, step=line)
        if stop.is_set():
            raise TrainingInterrupted

    words = gate_words(plan.settings.gate_command)
    plan.context.write(plan.folder / "context")
    on_step("requested", None)
    crash_point("training.requested")
    image = launcher.prepare(plan, progress)
    if stop.is_set():
        raise TrainingInterrupted
    crash_point("training.prepared")
    started = _start(plan, launcher, image)
    crash_point("training.started")
    on_step("started", started.detail)
    ended = _follow(plan, launcher, started.at, on_progress, stop)
    crash_point("training.script_ended")
    if ended.interrupted and started.interruptions < MOST_INTERRUPTIONS:
        _put_back(plan, launcher, started, ended)
    manifest = how_it_ended(plan, dataset, started, ended)
    if manifest.succeeded:
        verdict = judged(plan, manifest, words, stop)
        if verdict is None:
            raise TrainingInterrupted
        manifest = msgspec.structs.replace(manifest, gate=verdict)
        shutil.rmtree(plan.folder / "checkpoints", ignore_errors=True)
        manifest = write_card(plan.folder, manifest, dataset)
    write_training(plan.folder, manifest)
    return manifest


def _start(plan: Plan, launcher: Launcher, image: str) -> Started:
    """Start it, or find it started; returns the record of its first start.

    Raises: PairstreamError when it was started elsewhere, where we cannot see how it goes.
    """
    known = read_started(plan.folder)
    if known is not None and known.launcher != launcher.name:
        raise PairstreamError(
            f"{plan.training_id} was started by PAIRSTREAM_LAUNCHER={known.launcher}: let it end "
            "there"
        )
    started = known or Started(
        at=datetime.now(UTC),
        launcher=launcher.name,
        image=image,
        image_tag=plan.context.tag,
        base_model=str(plan.settings.base_model),
        arguments=plan.arguments,
        previous=plan.previous,
    )
    if known is None:
        write_started(plan.folder, started)
    crash_point("training.recorded")
    try:
        launcher.start(plan)
    except EngineUnavailable:
        if known is None:  # its time does not run yet
            (plan.folder / STARTED).unlink()
        raise
    return started


def _put_back(plan: Plan, launcher: Launcher, started: Started, ended: Ended) -> NoReturn:
    """Have the next try start it again. Raises: EngineUnavailable."""
    launcher.clean_up(plan)
    crash_point("training.put_back")
    times = started.interruptions + 1
    write_started(
        plan.folder, msgspec.structs.replace(started, at=datetime.now(UTC), interruptions=times)
    )
    raise EngineUnavailable(
        f"{plan.training_id} was interrupted ({times} of at most {MOST_INTERRUPTIONS} times): "
        f"{ended.why}; the next try goes on from its last checkpoint"
    )


def _follow(
    plan: Plan,
    launcher: Launcher,
    started_at: datetime,
    on_progress: OnProgress,
    stop: threading.Event,
) -> Ended:
    limit = plan.settings.training_deadline_seconds
    watch = ProgressWatch(plan.folder / METRICS)
    while True:
        ended = launcher.poll(plan)
        if (progress := watch.look()) is not None:  # after the end, of the last step too
            on_progress(progress)
        if ended is not None:
            return ended
        if stop.wait(POLL_SECONDS):
            raise TrainingInterrupted
        if (datetime.now(UTC) - started_at).total_seconds() > limit:
            launcher.stop(plan)
            ended = launcher.poll(plan) or Ended(137)
            return Ended(ended.code or 137, f"it took longer than {limit:g} s")
