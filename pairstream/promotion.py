"""Changes of `latest` that a person asks for: only to sound models, each told in the topic."""

from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct

from pairstream.cluster import ANSWER_SECONDS, Cluster
from pairstream.models import Model
from schemas.errors import PairstreamError
from schemas.rows import TrainingStep, TrainingStepName
from schemas.settings import KafkaSettings
from schemas.topics import TRAININGS, Names
from trainer.datasets import one_hash
from trainer.latest import change_by_user, read_history, read_latest, succession
from trainer.layout import DataDir
from trainer.outbox import Outbox
from trainer.published import verify_model
from trainer.training_manifest import TrainingManifest


class Changed(Struct, frozen=True):
    """`latest` points at `training_id` now, and pointed at `before`; the same where it did so
    already.
    """

    training_id: str
    before: str | None


def reach_topic(settings: KafkaSettings, *, wait_seconds: float | None = None) -> Outbox:
    """Where changes are told. Raises: PairstreamError when no broker answers or it is missing."""
    topic = Names(settings.topic_prefix).topic(TRAININGS)
    Cluster(settings).require(topic, wait_seconds=wait_seconds or ANSWER_SECONDS)
    return Outbox(settings)


def rollback_target(data: DataDir) -> str:
    """The one that was latest before. Raises: PairstreamError when there was none."""
    way = succession(read_history(data.models), read_latest(data.models))
    if len(way) <= 1:
        raise PairstreamError(
            "there is no earlier latest to go back to; `pairstream models promote` takes any model"
        )
    return way[-2]


def change_latest(
    data: DataDir,
    model: Model,
    what: Literal["promoted", "rolled_back"],
    why: str | None,
    outbox: Outbox | None,
) -> Changed:
    """Verify the model, point `latest` at it, tell it. Asked for again, it is told again.

    Raises: PairstreamError; what it says of `latest` is how it stands.
    """
    manifest, name = model.manifest, model.manifest.training_id
    verify_model(data.models, manifest)
    before = change_by_user(data.models, name, what, why)
    if outbox is not None:
        try:
            outbox.tell(step_of(manifest, what, f"by user{f': {why}' if why else ''}"))
        except PairstreamError as error:
            again = "promote" if what == "promoted" else "rollback --to"
            raise PairstreamError(
                f"latest is {name} now, but that was not told ({error}): "
                f"`pairstream models {again} {name}` tells it again"
            ) from error
    return Changed(name, before)


def step_of(manifest: TrainingManifest, step: TrainingStepName, detail: str | None) -> TrainingStep:
    """A step of a training that has ended, as of now."""
    return TrainingStep(
        training_id=manifest.training_id,
        step=step,
        time=datetime.now(UTC),
        dataset=manifest.dataset,
        dataset_sha256=one_hash(manifest.dataset_sha256),
        detail=detail,
    )
