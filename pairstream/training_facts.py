"""The trainings of a data directory as data: what `trainings list` and `show`, `status` and others
tell. Reads only; the trainer may run.
"""

import difflib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from schemas.errors import PairstreamError
from schemas.rows import TrainingStepName
from schemas.training_states import ENDED, state_of
from trainer.archive import checksum_file
from trainer.cancelling import is_cancelled
from trainer.latest import read_latest
from trainer.layout import DataDir
from trainer.progress import Step, last_step
from trainer.publishing import archive_of
from trainer.steps import StepNote, Wait, read_steps, read_wait
from trainer.training_manifest import (
    LOG,
    METRICS,
    TrainingManifest,
    read_started,
    read_training,
)
from trainer.trainings import training_id
from trainer.verdict import Verdict


class TrainingFacts(Struct, frozen=True, kw_only=True):
    """One training, as its folder or the topic of trainings tells it.

    `state` is its last step, since `time`. `figures` are the training script's, null before it has
    ended; `gate` is the gate's verdict, null where it was not asked. `requested_at` is its first
    step; `started_at` moves when it is started again. `progress` is its newest step while its
    script runs. `waits` says why it cannot start now; `is_cancelled`: somebody wants it to end.
    """

    training_id: str
    dataset: str | None
    state: TrainingStepName
    time: datetime | None
    detail: str | None
    figures: dict[str, object] | None = None
    archive: str | None = None
    gate: Verdict | None = None
    exit_code: int | None = None
    is_latest: bool = False
    requested_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    interruptions: int = 0
    progress: Step | None = None
    waits: Wait | None = None
    is_cancelled: bool = False

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    def seconds(self, now: datetime) -> float | None:
        """How long its script ran, or has run until now; none where it was never started."""
        if self.started_at is None:
            return None
        return ((self.finished_at or now) - self.started_at).total_seconds()


class TrainingStory(Struct, frozen=True, kw_only=True):
    """All that is known of one training; the keys of `trainings show --json`.

    `steps` are those that its folder has, oldest first; `manifest` is null before it has ended.
    """

    folder: str
    log: str
    facts: TrainingFacts
    steps: list[StepNote]
    manifest: TrainingManifest | None


def read_trainings(data: DataDir) -> Iterator[TrainingFacts]:
    """Every training that has a folder, by name."""
    if not data.models.is_dir():
        return
    latest = read_latest(data.models)
    for folder in sorted(data.models.iterdir()):
        if folder.is_dir() and not folder.is_symlink() and not folder.name.startswith("."):
            yield training_facts(data, folder, latest)


def read_story(data: DataDir, wanted: str) -> TrainingStory:
    """Raises: PairstreamError when there is no such training, or a file is damaged."""
    folder = find_training(data, wanted)
    return TrainingStory(
        folder=str(folder),
        log=str(folder / LOG),
        facts=training_facts(data, folder, read_latest(data.models)),
        steps=read_steps(folder),
        manifest=read_training(folder),
    )


def find_training(data: DataDir, wanted: str) -> Path:
    """Its folder, by its id alone. Raises: PairstreamError when there is none."""
    known = [facts.training_id for facts in read_trainings(data)]
    if wanted in known:
        return data.models / wanted
    near = difflib.get_close_matches(wanted, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "see `pairstream trainings list`"
    raise PairstreamError(f"{wanted} is no training in {data.models}; {hint}")


def training_facts(data: DataDir, folder: Path, latest: str | None) -> TrainingFacts:
    """Of one folder. Raises: PairstreamError when its manifest is damaged."""
    manifest = read_training(folder)
    steps = read_steps(folder)
    first = steps[0].time if steps else None
    if manifest is None:
        return _unended(data, folder, steps, first)
    archive = archive_of(data.models, folder.name)
    return TrainingFacts(
        training_id=folder.name,
        dataset=manifest.dataset,
        state="succeeded" if manifest.succeeded else "failed",
        time=manifest.finished_at,
        detail=manifest.why,
        figures=manifest.figures,
        archive=str(archive) if checksum_file(archive).exists() else None,
        gate=manifest.gate,
        exit_code=manifest.exit_code,
        is_latest=folder.name == latest,
        requested_at=first,
        started_at=manifest.started_at,
        finished_at=manifest.finished_at,
        interruptions=manifest.interruptions,
    )


def _unended(
    data: DataDir, folder: Path, steps: list[StepNote], first: datetime | None
) -> TrainingFacts:
    started, waits = read_started(folder), read_wait(folder)
    state = state_of(note.step for note in steps) or ("started" if started else "requested")
    since = steps[-1].time if steps else None
    return TrainingFacts(
        training_id=folder.name,
        dataset=_dataset_of(folder.name, data),
        state=state,
        time=since or (started.at if started else None),
        detail=waits.why if waits else started.launcher if started else None,
        requested_at=first,
        started_at=started.at if started else None,
        interruptions=started.interruptions if started else 0,
        progress=last_step(folder / METRICS) if state == "started" else None,
        waits=waits,
        is_cancelled=is_cancelled(folder),
    )


def _dataset_of(training: str, data: DataDir) -> str | None:
    """By its name: a training is named after its dataset, and numbered when it is repeated."""
    for name in data.dataset_names():
        first = training_id(name)
        if training == first or training.startswith(f"{first}-"):
            return name
    return None
