"""An overview as text for people: one screen, whatever the number of datasets and trainings."""

from collections.abc import Iterator, Mapping
from typing import Any

from pairstream.cluster_facts import ClusterFacts, Sample, TopicFacts, TrainerFacts
from pairstream.data_facts import DataFacts
from pairstream.overview import Overview
from pairstream.terminal import counted, labelled, printable, shortened, shown_time
from pairstream.training_facts import TrainingFacts
from schemas.topics import DEAD_LETTER_SUFFIX

NEWEST_SHOWN = 5
DETAIL_WIDTH = 100

# Of the training script's figures, those that say how a training went.
LOSS, EVALUATION = "loss", ("eval_loss", "eval_rewards/accuracies", "eval_rewards/margins")


def overview_lines(overview: Overview) -> Iterator[str]:
    if overview.cluster is None:
        yield labelled("cluster", "no broker answers")
    else:
        yield from _cluster_lines(overview.cluster)
    yield from _data_lines(overview)
    yield from _training_lines(overview.trainings)
    yield labelled("models/latest", overview.data_dir.latest or "none yet")


def _cluster_lines(cluster: ClusterFacts) -> Iterator[str]:
    width = max(len(topic.name) for topic in cluster.topics)
    yield f"{'topics':<{width + 2}} partitions    records"
    yield from (_topic_line(topic, width) for topic in cluster.topics)
    behind = ", ".join(f"{records} {name}" for name, records in cluster.worker.lag.items())
    members = cluster.worker.members
    told = "not told" if members is None else str(members)
    yield labelled("workers", f"{told}; not committed: {behind or 'nothing'}")
    yield labelled("open runs", _open_runs(cluster.open_runs))
    yield labelled("settled runs", _sample(cluster.outcomes))
    yield labelled("pairs", _sample(cluster.pairs))
    yield labelled("trainer", _trainer(cluster.trainer))


def _topic_line(topic: TopicFacts, width: int) -> str:
    if topic.partitions is None:
        return f"  {topic.name:<{width}}    missing: run `pairstream topics apply`"
    hint = ""
    if topic.name.endswith(DEAD_LETTER_SUFFIX) and topic.records:
        hint = "  see `pairstream dlt list`"
    return f"  {topic.name:<{width}} {topic.partitions:>10} {topic.records:>10}{hint}"


def _open_runs(sample: Sample) -> str:
    at_least = "" if sample.is_complete else "at least "
    return f"{at_least}{sample.counts['runs']}{_bound(sample)}"


def _sample(sample: Sample) -> str:
    return f"{sum(sample.counts.values())}{_split(sample.counts)}{_bound(sample)}"


def _split(counts: Mapping[Any, int]) -> str:
    if not counts:
        return ""
    return ": " + ", ".join(f"{number} {printable(kind)}" for kind, number in counts.items())


def _bound(sample: Sample) -> str:
    if sample.is_complete:
        return ""
    return f" (in the newest {sample.read} of {sample.records} records; --newest reads more)"


def _trainer(trainer: TrainerFacts) -> str:
    note = f"; {trainer.note}" if trainer.note else ""
    if trainer.lag is None:
        return f"no position is known: has one run?{note}"
    whence = "" if trainer.position_from == "segments" else " by what it last showed its group"
    return f"{counted(trainer.lag, 'record')} of pairs not taken in{whence}{note}"


def _data_lines(overview: Overview) -> Iterator[str]:
    data, threshold = overview.data_dir, overview.next_dataset
    if not data.exists:
        yield labelled("data directory", f"{data.path} is not there: no trainer has run on it")
        return
    yield labelled(
        "next dataset",
        f"{threshold.new_pairs} of {threshold.trigger_pairs} new pairs, "
        f"{threshold.missing_pairs} to go{_split(data.new_rules)}",
    )
    if any(wait.policy != "pairs" for wait in threshold.waits):
        yield f"  waits: {'; '.join(wait.why for wait in threshold.waits)}"
    if threshold.held_back:
        yield f"  none of them can be taken now{_split(threshold.held_back)}"
    if data.waiting:
        waiting = counted(sum(data.waiting.values()), "pair")
        yield f"  and {waiting} wait again{_split(data.waiting)}"
    yield from _dataset_lines(data)


def _dataset_lines(data: DataFacts) -> Iterator[str]:
    total = sum(dataset.pairs for dataset in data.datasets)
    yield labelled("datasets", f"{len(data.datasets)} with {counted(total, 'pair')}")
    for dataset in data.datasets[-NEWEST_SHOWN:]:
        yield (
            f"  {dataset.name}  {shown_time(dataset.created_at)}  {counted(dataset.pairs, 'pair')} "
            f"of {counted(dataset.runs, 'run')}{_split(dataset.rules)}"
        )


def _training_lines(trainings: list[TrainingFacts]) -> Iterator[str]:
    yield labelled("trainings", str(len(trainings)))
    yield from ("  " + training_line(training) for training in trainings[-NEWEST_SHOWN:])


def training_line(training: TrainingFacts) -> str:
    """One training: its state, when, and how it went or why not."""
    time = f"  {shown_time(training.time)}" if training.time else ""
    waits = f"waits: {training.waits.why}" if training.waits else None
    detail = waits or training.detail or _figures(training)
    shown = f"  {shortened(printable(detail), DETAIL_WIDTH)}" if detail else ""
    gate = f"  gate {training.gate.word}" if training.gate else ""
    return f"{printable(training.training_id)}  {training.state}{time}{gate}{shown}"


def _figures(training: TrainingFacts) -> str:
    figures = training.figures or {}
    last, evaluation = figures.get("last"), figures.get("evaluation")
    found: dict[str, object] = {}
    if isinstance(last, dict) and LOSS in last:
        found[LOSS] = last[LOSS]
    if isinstance(evaluation, dict):
        found |= {name: evaluation[name] for name in EVALUATION if name in evaluation}
    return ", ".join(
        f"{name} {value:.4g}" for name, value in found.items() if isinstance(value, int | float)
    )
