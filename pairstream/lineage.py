"""Where a model comes from, down to the runs; and the models that came of a run.

Reads a data directory only; the trainer may run.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from pairstream.pairs_facts import PairsFacts, pairs_facts
from schemas.errors import PairstreamError
from trainer.datasets import EVAL, TRAIN, DatasetManifest, OffsetRange, read_manifest
from trainer.latest import LATEST, read_latest
from trainer.layout import MANIFEST, DataDir
from trainer.made_by import MadeBy
from trainer.training_manifest import TrainingManifest, read_training


class DatasetLineage(Struct, frozen=True, kw_only=True):
    """A dataset that lies here, as it was trained on."""

    parent: str | None
    topic: str
    offsets: dict[str, OffsetRange]
    trained_on: PairsFacts
    held_out: PairsFacts


class Round(Struct, frozen=True, kw_only=True):
    """An earlier training whose adapter the next one began with, and `how`; `dataset` is null
    where that training is not here any more.
    """

    training_id: str
    how: str
    dataset: str | None


class Lineage(Struct, frozen=True, kw_only=True):
    """One training; the keys of `explain MODEL --json` are the fields here.

    `lies_here` is null where the dataset with these hashes is not in the data directory. `rounds`
    are the earlier trainings that it stands on, the newest first. What only the script can tell
    (`seed`, `device`, `versions`) is null where it left no figures.
    """

    training_id: str
    is_latest: bool
    ended: str
    started_at: datetime
    finished_at: datetime
    base_model: str
    dataset: str
    dataset_sha256: dict[str, str]
    lies_here: DatasetLineage | None
    rounds: list[Round]
    launcher: str
    image: str
    image_tag: str
    seed: int | None
    device: str | None
    versions: dict[str, str] | None
    made_by: MadeBy | None
    arguments: list[str]


class ModelOfRun(Struct, frozen=True, kw_only=True):
    """A model that pairs of a run are in. `through`: it was not trained on them itself, but
    began with the adapter of one that was; `pairs` is then null.
    """

    training_id: str
    dataset: str
    pairs: int | None
    through: str | None
    is_latest: bool


def find_training(data: DataDir, name: str) -> str | None:
    """The ended training that is meant by its id or as `latest`; None where there is none.

    Raises: PairstreamError where no model is the latest yet.
    """
    if name == LATEST:
        latest = read_latest(data.models)
        if latest is None:
            raise PairstreamError(f"no model in {data.models} is the latest yet")
        return latest
    # Looked for among the names that are there: a run's id is no path.
    return name if name in {folder.name for folder in _folders(data)} else None


def read_lineage(data: DataDir, training_id: str) -> Lineage:
    """Raises: PairstreamError when a file is damaged."""
    manifest = read_training(data.models / training_id)
    if manifest is None:
        raise PairstreamError(f"{training_id} has not ended, or is not in {data.models}")
    figures = manifest.figures or {}
    arguments = figures.get("arguments")
    seed = arguments.get("seed") if isinstance(arguments, dict) else None
    return Lineage(
        training_id=training_id,
        is_latest=training_id == read_latest(data.models),
        ended=_ended(manifest),
        started_at=manifest.started_at,
        finished_at=manifest.finished_at,
        base_model=manifest.base_model,
        dataset=manifest.dataset,
        dataset_sha256=manifest.dataset_sha256,
        lies_here=_dataset(data, manifest),
        rounds=list(_rounds(data, manifest)),
        launcher=manifest.launcher,
        image=manifest.image,
        image_tag=manifest.image_tag,
        seed=seed,
        device=_told(figures, "device", str),
        versions=_told(figures, "versions", dict),
        made_by=manifest.made_by,
        arguments=manifest.arguments,
    )


def models_of_run(data: DataDir, pairs: Mapping[str, int]) -> list[ModelOfRun]:
    """Models that succeeded, oldest first; `pairs`: of the run, by the dataset that has them on
    the side that is trained on.
    """
    latest = read_latest(data.models)
    found: dict[str, ModelOfRun] = {}
    for manifest in _succeeded(data):
        through = manifest.previous.training_id if manifest.previous else None
        count = pairs.get(manifest.dataset) if _dataset_here(data, manifest) else None
        if count or through in found:
            found[manifest.training_id] = ModelOfRun(
                training_id=manifest.training_id,
                dataset=manifest.dataset,
                pairs=count,
                through=None if count else through,
                is_latest=manifest.training_id == latest,
            )
    return list(found.values())


def _folders(data: DataDir) -> list[Path]:
    folders = (path.parent for path in data.models.glob(f"*/{MANIFEST}"))
    return [folder for folder in folders if not folder.is_symlink()]


def _succeeded(data: DataDir) -> list[TrainingManifest]:
    found = [manifest for folder in _folders(data) if (manifest := read_training(folder))]
    return sorted((m for m in found if m.succeeded), key=lambda m: (m.started_at, m.training_id))


def _ended(manifest: TrainingManifest) -> str:
    if not manifest.succeeded:
        return f"failed: {manifest.why}"
    return manifest.gate.word if manifest.gate else "never judged"


def _told(figures: Mapping[str, Any], name: str, kind: type) -> Any:
    value = figures.get(name)
    return value if isinstance(value, kind) else None


def _dataset_here(data: DataDir, manifest: TrainingManifest) -> DatasetManifest | None:
    """By name and hashes: one of the same name elsewhere may hold other pairs."""
    if manifest.dataset not in data.dataset_names():
        return None
    dataset = read_manifest(data.datasets / manifest.dataset)
    files = dataset.hashes
    return dataset if files == manifest.dataset_sha256 else None


def _dataset(data: DataDir, manifest: TrainingManifest) -> DatasetLineage | None:
    dataset = _dataset_here(data, manifest)
    if dataset is None:
        return None
    folder = data.datasets / dataset.name
    return DatasetLineage(
        parent=dataset.parent,
        topic=dataset.source.topic,
        offsets=dataset.offsets,
        trained_on=pairs_facts(folder / TRAIN),
        held_out=pairs_facts(folder / EVAL),
    )


def _rounds(data: DataDir, manifest: TrainingManifest) -> Iterator[Round]:
    previous = manifest.previous
    seen = {manifest.training_id}
    while previous is not None and previous.training_id not in seen:
        seen.add(previous.training_id)
        before = read_training(data.models / previous.training_id)
        yield Round(
            training_id=previous.training_id,
            how=previous.how,
            dataset=before.dataset if before else None,
        )
        previous = before.previous if before else None
