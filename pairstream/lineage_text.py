"""Where a model comes from, as text for people."""

from collections.abc import Iterator, Mapping

from pairstream.lineage import DatasetLineage, Lineage, ModelOfRun
from pairstream.pairs_facts import PairsFacts
from pairstream.terminal import counted, labelled, printable, shortened, shown_time

ID_WIDTH = 80
SHOWN = 10


def lineage_lines(lineage: Lineage, *, full: bool) -> Iterator[str]:
    name = lineage.training_id + (" (latest)" if lineage.is_latest else "")
    yield labelled("model", f"{name}: {lineage.ended}")
    times = f"{shown_time(lineage.started_at)} to {shown_time(lineage.finished_at)}"
    yield labelled("trained", f"{times}, device {lineage.device}, seed {lineage.seed}")
    yield labelled("base", lineage.base_model)
    if not lineage.rounds:
        yield labelled("earlier rounds", "none: it began with a fresh adapter")
    for earlier in lineage.rounds:
        dataset = earlier.dataset or "a training that is not here any more"
        yield labelled("earlier round", f"{earlier.training_id} ({earlier.how}), on {dataset}")
    yield from _made_lines(lineage)
    yield labelled("dataset", lineage.dataset)
    yield from (f"  {digest}  {file}" for file, digest in lineage.dataset_sha256.items())
    if lineage.lies_here is None:
        yield "  it lies elsewhere: its pairs and runs are not known here"
    else:
        yield from _dataset_lines(lineage.lies_here, full=full)


def _made_lines(lineage: Lineage) -> Iterator[str]:
    yield labelled("launcher", lineage.launcher)
    yield labelled("image", f"{lineage.image} ({lineage.image_tag})")
    yield labelled("pairstream", lineage.made_by.told if lineage.made_by else "not told")
    versions = ", ".join(f"{name} {number}" for name, number in (lineage.versions or {}).items())
    yield labelled("versions", versions or "not told")
    yield labelled("arguments", " ".join(lineage.arguments) or "none")


def _dataset_lines(dataset: DatasetLineage, *, full: bool) -> Iterator[str]:
    places = (f"{place}: {each.from_} to {each.to}" for place, each in dataset.offsets.items())
    yield f"  from {dataset.topic}, offsets {', '.join(places)}; parent {dataset.parent or 'none'}"
    for side, facts in (("trained on", dataset.trained_on), ("held out", dataset.held_out)):
        yield f"{side}: {counted(facts.pairs, 'pair')} of {counted(len(facts.runs), 'run')}"
        yield from _pairs_lines(facts, full=full)


def _pairs_lines(facts: PairsFacts, *, full: bool) -> Iterator[str]:
    if not facts.pairs:
        return
    for name, counts in (
        ("rules", facts.rules), ("agents", facts.agents), ("policies", facts.policies),
        ("runs", facts.runs),
    ):  # fmt: skip
        yield f"  {name:<9} {_counts(counts, full=full)}"


def _counts(counts: Mapping[str, int], *, full: bool) -> str:
    shown = list(counts.items()) if full else list(counts.items())[:SHOWN]
    told = ", ".join(
        f"{shortened(printable(name), ID_WIDTH) or '(none)'} {number}" for name, number in shown
    )
    rest = len(counts) - len(shown)
    return f"{told} and {rest} more (--full)" if rest else told


def models_of_run_lines(models: list[ModelOfRun]) -> Iterator[str]:
    yield f"models: {len(models) or 'none was trained on its pairs'}"
    for model in models:
        latest = " (latest)" if model.is_latest else ""
        if model.through is not None:
            how = f"began with the adapter of {model.through}"
        else:
            how = f"trained on {counted(model.pairs or 0, 'pair')} of it, in {model.dataset}"
        yield f"  {model.training_id}{latest}  {how}"
