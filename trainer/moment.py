"""What the trigger's policies look at, from the pairs that were taken in and from the files."""

from datetime import datetime

from schemas.settings import TrainerSettings
from trainer.datasets import read_manifest
from trainer.layout import DataDir
from trainer.new_pairs import NewPairs
from trainer.policies import Moment
from trainer.training_manifest import read_training
from trainer.trainings import training_id


def moment_of(settings: TrainerSettings, newcomers: NewPairs, now: datetime) -> Moment:
    """What the trigger's policies look at; files are read only for a policy that is set."""
    ended_at, trains = None, False
    if settings.trigger_cooldown_seconds is not None:
        ended_at, trains = last_training(DataDir(settings.data_dir), launcher=settings.launcher)
    return Moment(
        now=now,
        oldest_at=newcomers.oldest_at,
        tasks=newcomers.tasks,
        ended_at=ended_at,
        trains=trains,
    )


def last_training(data: DataDir, *, launcher: str) -> tuple[datetime | None, bool]:
    """When it ended, and whether it has not ended yet; without a launcher, when the last was cut.

    Trainings end in the order of their datasets, so it is that of the newest one.
    """
    names = data.dataset_names()
    if not names:
        return None, False
    if launcher == "none":
        return read_manifest(data.datasets / names[-1]).created_at, False
    manifest = read_training(data.models / training_id(names[-1]))
    return (None, True) if manifest is None else (manifest.finished_at, False)
