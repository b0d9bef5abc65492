"""What `pairstream status` shows, as one value; the keys of its `--json` are the fields here."""

from collections.abc import Iterable
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from pairstream.cluster import Cluster
from pairstream.cluster_facts import ClusterFacts, read_cluster_facts, read_last_steps
from pairstream.data_facts import DataFacts, held_back, read_data_facts, read_new_pairs
from pairstream.training_facts import TrainingFacts, read_trainings
from schemas.rows import LATEST_STEPS, TrainingStep, TrainingStepName
from schemas.settings import TrainerSettings
from schemas.training_states import ENDED, state_after
from trainer.layout import DataDir
from trainer.moment import moment_of
from trainer.policies import Policies, Wait
from trainer.selection import CutSettings, Reason
from trainer.trigger import Trigger


class ThresholdFacts(Struct, frozen=True):
    """The way to the next dataset: pairs that no cut has looked at, wanted, and missing; once none
    is missing, `held_back` says why none could be taken, by reason, if that is so. `waits` says why
    it is not cut now, by each policy that waits.
    """

    new_pairs: int
    trigger_pairs: int
    missing_pairs: int
    held_back: dict[Reason, int]
    waits: list[Wait] = []


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
    trigger = Trigger(settings.trigger_pairs, Policies.of(settings))
    moment = moment_of(settings, read_new_pairs(data, settings.trigger_tasks), datetime.now(UTC))
    missing = trigger.missing(facts.new_pairs)
    cut = CutSettings.of(settings)
    may_be_held_back = facts.new_pairs and not missing and not cut.takes_all
    return Overview(
        bootstrap_servers=settings.bootstrap_servers,
        cluster=read_cluster_facts(settings, cluster, facts, newest=newest) if cluster else None,
        data_dir=facts,
        next_dataset=ThresholdFacts(
            facts.new_pairs,
            settings.trigger_pairs,
            missing,
            held_back(data, cut) if may_be_held_back else {},
            trigger.waits(facts.new_pairs, moment),
        ),
        trainings=join_trainings(read_trainings(data), steps),
    )


def join_trainings(
    folders: Iterable[TrainingFacts], steps: Iterable[TrainingStep]
) -> list[TrainingFacts]:
    """One entry a training, by name; a folder that says how it ended is believed first. Pure."""
    joined = {
        step.training_id: TrainingFacts(
            training_id=step.training_id,
            dataset=step.dataset,
            state=_state(step),
            time=step.time,
            detail=step.detail,
        )
        for step in steps
    }
    for training in folders:
        told = joined.get(training.training_id)
        if told is None or training.state in ENDED:
            joined[training.training_id] = training
        else:
            state, time, detail = told.state, told.time, told.detail
            joined[training.training_id] = replace(training, state=state, time=time, detail=detail)
    return [joined[name] for name in sorted(joined)]


def _state(step: TrainingStep) -> TrainingStepName:
    """What is told of `latest` is told of trainings that succeeded."""
    return "succeeded" if step.step in LATEST_STEPS else state_after(None, step.step)
