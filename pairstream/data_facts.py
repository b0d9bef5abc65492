"""What a data directory holds: segments, datasets, trainings. Reads only; the trainer may run."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import orjson
from msgspec import Struct

from schemas.rows import TrainingStepName
from schemas.source import Source
from trainer.archive import checksum_file
from trainer.datasets import DatasetManifest, read_manifest, uncut
from trainer.latest import read_latest
from trainer.layout import DataDir
from trainer.publishing import archive_of
from trainer.segments import Segment, list_segments, next_offsets
from trainer.source import read_source
from trainer.training_manifest import read_started, read_training
from trainer.trainings import training_id
from trainer.verdict import Verdict


class DatasetFacts(Struct, frozen=True):
    """One published dataset."""

    name: str
    created_at: datetime
    pairs: int
    runs: int
    rules: dict[str, int]


class TrainingFacts(Struct, frozen=True, kw_only=True):
    """One training, as its folder or the topic of trainings tells it.

    `state` is its last step. `figures` are the training script's, null before it has ended; `gate`
    is the gate's verdict, null where it was not asked.
    """

    training_id: str
    dataset: str | None
    state: TrainingStepName
    time: datetime | None
    detail: str | None
    figures: dict[str, object] | None = None
    archive: str | None = None
    gate: Verdict | None = None


class DataFacts(Struct, frozen=True, kw_only=True):
    """One data directory.

    `new_pairs` are in segments and in no dataset yet, `new_rules` says of which rules; `positions`
    is the trainer's true position by partition, in the topic that `source` names.
    """

    path: str
    exists: bool
    source: Source | None
    positions: dict[int, int]
    new_pairs: int
    new_rules: dict[str, int]
    datasets: list[DatasetFacts]
    latest: str | None


def read_data_facts(data: DataDir) -> DataFacts:
    """Everything that `status` shows of it, datasets oldest first.

    Raises: PairstreamError that names the file which is damaged.
    """
    manifests = [read_manifest(data.datasets / name) for name in data.dataset_names()]
    segments = list_segments(data.segments)
    waiting = uncut(segments, manifests[-1] if manifests else None)
    return DataFacts(
        path=str(data.root),
        exists=data.root.is_dir(),
        source=read_source(data).source if data.source.exists() else None,
        positions=next_offsets(segments),
        new_pairs=sum(segment.rows for segment in waiting),
        new_rules=_rules(data, waiting),
        datasets=[_dataset_facts(manifest) for manifest in manifests],
        latest=read_latest(data.models),
    )


def _dataset_facts(manifest: DatasetManifest) -> DatasetFacts:
    return DatasetFacts(
        manifest.name, manifest.created_at, manifest.pairs, manifest.runs, manifest.rules
    )


def _rules(data: DataDir, segments: list[Segment]) -> dict[str, int]:
    rules: Counter[str] = Counter()
    for segment in segments:
        with (data.segments / segment.path).open("rb") as lines:
            rules.update(orjson.loads(line)["rule"] for line in lines)
    return dict(sorted(rules.items()))


def read_trainings(data: DataDir) -> Iterator[TrainingFacts]:
    """Every training that has a folder, by name."""
    if not data.models.is_dir():
        return
    for folder in sorted(data.models.iterdir()):
        if folder.is_dir() and not folder.is_symlink() and not folder.name.startswith("."):
            yield _training_facts(data, folder)


def _training_facts(data: DataDir, folder: Path) -> TrainingFacts:
    manifest = read_training(folder)
    if manifest is None:
        started = read_started(folder)
        return TrainingFacts(
            training_id=folder.name,
            dataset=_dataset_of(folder.name, data),
            state="started" if started else "requested",
            time=started.at if started else None,
            detail=started.launcher if started else None,
        )
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
    )


def _dataset_of(training: str, data: DataDir) -> str | None:
    """By its name: a training is named after its dataset, and numbered when it is repeated."""
    for name in data.dataset_names():
        first = training_id(name)
        if training == first or training.startswith(f"{first}-"):
            return name
    return None
