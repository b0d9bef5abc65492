"""Datasets as `pairstream dataset` shows them; the keys of its --json are the fields here."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from msgspec import Struct

from pairstream.training_facts import TrainingFacts, read_trainings
from schemas.errors import PairstreamError
from schemas.rows import TrainingStepName
from trainer.composing import composition_of
from trainer.composition import Composition
from trainer.datasets import (
    EVAL,
    DatasetManifest,
    dataset_lines,
    read_manifest,
    verify_dataset,
)
from trainer.forgotten import MarkedRun, read_mark
from trainer.layout import DataDir

PROGRESS_EVERY = 100_000

Progress = Callable[[int, int], None]


class TrainingState(Struct, frozen=True):
    """A training on the dataset, and its last step."""

    training_id: str
    state: TrainingStepName


class DatasetEntry(Struct, frozen=True, kw_only=True):
    """One dataset in a list; `garbled` is null where its manifest does not count them."""

    name: str
    parent: str | None
    created_at: datetime
    pairs: int
    runs: int
    held_out: int
    garbled: int | None
    trainings: list[TrainingState]


class DatasetDetails(Struct, frozen=True, kw_only=True):
    """One dataset; `composition` is counted from its files where the manifest has none.

    `forgotten`: the runs in it that people want gone.
    """

    folder: str
    manifest: DatasetManifest
    composition: Composition
    trainings: list[TrainingFacts]
    forgotten: list[MarkedRun]


def list_datasets(data: DataDir) -> list[DatasetEntry]:
    """Oldest first. Raises: PairstreamError that names the manifest which is damaged."""
    trainings = list(read_trainings(data))
    manifests = [read_manifest(data.datasets / name) for name in data.dataset_names()]
    return [dataset_entry(manifest, trainings) for manifest in manifests]


def dataset_entry(manifest: DatasetManifest, trainings: Iterable[TrainingFacts]) -> DatasetEntry:
    return DatasetEntry(
        name=manifest.name,
        parent=manifest.parent,
        created_at=manifest.created_at,
        pairs=manifest.pairs,
        runs=manifest.runs,
        held_out=manifest.files[EVAL].rows,
        garbled=manifest.composition.garbled if manifest.composition else None,
        trainings=[
            TrainingState(training.training_id, training.state)
            for training in trainings
            if training.dataset == manifest.name
        ],
    )


def find_dataset(data: DataDir, name: str) -> Path:
    """The folder of a published dataset: by its name, or, like a replay's, by its path.

    Raises: PairstreamError when there is none.
    """
    names = data.dataset_names()
    if name in names:
        return data.datasets / name
    if Path(name).is_dir():
        kind = read_manifest(Path(name)).kind
        if kind != "pairs":
            raise PairstreamError(
                f"{name} holds no pairs but {kind}: its manifest says all that is known of it"
            )
        return Path(name)
    known = f"from {names[0]} to {names[-1]}" if names else "none yet"
    raise PairstreamError(
        f"{name} is neither a dataset of {data.root} (it has {known}) nor a folder: see "
        "`pairstream dataset list`, or name another --data-dir"
    )


def describe_dataset(data: DataDir, folder: Path, progress: Progress) -> DatasetDetails:
    """Raises: PairstreamError when it is not what its manifest says."""
    manifest = verify_dataset(folder)
    mark = read_mark(folder)
    is_ours = folder.absolute().parent == data.datasets.absolute()
    return DatasetDetails(
        folder=str(folder),
        manifest=manifest,
        composition=manifest.composition or composition_of(read_rows(folder, manifest, progress)),
        trainings=[t for t in read_trainings(data) if is_ours and t.dataset == manifest.name],
        forgotten=mark.runs if mark else [],
    )


def read_rows(
    folder: Path, manifest: DatasetManifest, progress: Progress
) -> Iterator[dict[str, Any]]:
    """All rows in the order of pair_id."""
    return (orjson.loads(line) for line in counted(dataset_lines(folder), manifest, progress))


def counted(
    lines: Iterable[bytes], manifest: DatasetManifest, progress: Progress
) -> Iterator[bytes]:
    """The lines as they come, telling now and then how many have come."""
    for number, line in enumerate(lines, 1):
        yield line
        if number % PROGRESS_EVERY == 0:
            progress(number, manifest.pairs)
