"""What `pairstream status` shows, as one value; the keys of its `--json` are the fields here."""

from collections.abc import Iterable

from msgspec import Struct

from pairstream.cluster import Cluster
from pairstream.cluster_facts import ClusterFacts, read_cluster_facts, read_last_steps
from pairstream.data_facts import DataFacts, TrainingFacts, read_data_facts, read_trainings
from schemas.rows import LATEST_STEPS, TrainingStep
from schemas.settings import TrainerSettings
from trainer.layout import DataDir
from trainer.trigger import Trigger


class ThresholdFacts(Struct, frozen=True):
    """The way to the next dataset: pairs in no dataset yet, wanted, and missing."""

    new_pairs: int
    trigger_pairs: int
    missing_pairs: int


class Overview(Struct, frozen=True, kw_only=True):
    """`cluster` is null where no broker answers; `trainings` joins the topic and the folders."""

    bootstrap_servers: str
    cluster: ClusterFacts | None
    data_dir: DataFacts
    next_dataset: ThresholdFacts
    trainings: list[TrainingFacts]


def read_overview(settings: TrainerSettings, cluster: Cluster | None, *, newest: int) -> Overview:
    """Look at the data directory, and at the cluster if there is one. Raises: PairstreamError."""
    data = DataDir(settings.data_dir)
    facts = read_data_facts(data)
    steps = read_last_steps(settings, cluster, newest=newest) if cluster else []
    missing = Trigger(settings.trigger_pairs).missing(facts.new_pairs)
    return Overview(
        bootstrap_servers=settings.bootstrap_servers,
        cluster=read_cluster_facts(settings, cluster, facts, newest=newest) if cluster else None,
        data_dir=facts,
        next_dataset=ThresholdFacts(facts.new_pairs, settings.trigger_pairs, missing),
        trainings=join_trainings(read_trainings(data), steps),
    )


def join_trainings(
    folders: Iterable[TrainingFacts], steps: Iterable[TrainingStep]
) -> list[TrainingFacts]:
    """One entry a training, by name; a folder that says how it ended is believed first. Pure.

    What is told of `latest` is told of trainings that succeeded.
    """
    joined = {
        step.training_id: TrainingFacts(
            training_id=step.training_id,
            dataset=step.dataset,
            state="succeeded" if step.step in LATEST_STEPS else step.step,
            time=step.time,
            detail=step.detail,
        )
        for step in steps
    }
    for training in folders:
        if training.state in ("succeeded", "failed"):
            joined[training.training_id] = training
        else:
            joined.setdefault(training.training_id, training)
    return [joined[name] for name in sorted(joined)]
