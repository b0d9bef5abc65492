"""The models of a data directory: what there is, what the gate said, and how two of them differ.

Reads only; the trainer may run.
"""

import difflib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from schemas.errors import PairstreamError
from trainer.archive import checksum_file
from trainer.datasets import TRAIN, DatasetManifest, read_manifest
from trainer.forgotten import MarkedRun, read_marks
from trainer.gate import FIGURES
from trainer.latest import LATEST, Change, read_history, read_latest
from trainer.layout import MANIFEST, DataDir
from trainer.publishing import archive_of
from trainer.training_manifest import TrainingManifest, read_training
from trainer.verdict import Verdict


class ModelFacts(Struct, frozen=True, kw_only=True):
    """One model. `pairs` were trained on, of its dataset's those that are not held out; `gate` is
    null where it was never judged; `figures` are those of the candidate on the held-out pairs;
    `archive` is null until it is complete.
    `learnt_from_forgotten`: it, or one that it goes on from, was trained on runs that were
    forgotten since.
    """

    training_id: str
    time: datetime
    dataset: str
    pairs: int | None
    gate: Verdict | None
    figures: dict[str, Any] | None
    archive: str | None
    is_latest: bool
    learnt_from_forgotten: bool


class Shelf(Struct, frozen=True):
    """All models, oldest first, and every change of `latest`; the keys of `models list --json`."""

    latest: str | None
    models: list[ModelFacts]
    history: list[Change]


class Model(Struct, frozen=True, kw_only=True):
    """All that is known of one model; the keys of `models show --json`.

    `history` holds the changes that made it `latest` or took its place; `dataset` is null where
    it lies elsewhere. `forgotten`: by dataset that it, or one that it goes on from, was trained
    on, the runs that were forgotten since.
    """

    is_latest: bool
    archive: str | None
    manifest: TrainingManifest
    dataset: DatasetManifest | None
    history: list[Change]
    forgotten: dict[str, list[MarkedRun]]


class Comparison(Struct, frozen=True, kw_only=True):
    """Two models; each value is that of the first and that of the second, null where it has none.

    `figures` are all figures of the gate; `recipe` and `dataset` hold only what differs.
    `same_held_out` says whether both were measured on the same pairs.
    """

    models: tuple[str, str]
    same_held_out: bool
    figures: dict[str, tuple[Any, Any]]
    recipe: dict[str, tuple[Any, Any]]
    dataset: dict[str, tuple[Any, Any]]


def model_ids(data: DataDir) -> list[str]:
    """Trainings that succeeded, in the order in which they ended."""
    return [manifest.training_id for manifest in _models(data)]


def read_shelf(data: DataDir) -> Shelf:
    """Raises: PairstreamError that names the file which is damaged."""
    latest = read_latest(data.models)
    marks, learnt = read_marks(data), learnt_from(data)
    models = [
        ModelFacts(
            training_id=manifest.training_id,
            time=manifest.finished_at,
            dataset=manifest.dataset,
            pairs=_pairs(data, manifest),
            gate=manifest.gate,
            figures=_candidate(manifest),
            archive=_archive(data, manifest.training_id),
            is_latest=manifest.training_id == latest,
            learnt_from_forgotten=not learnt[manifest.training_id].isdisjoint(marks),
        )
        for manifest in _models(data)
    ]
    return Shelf(latest, models, read_history(data.models))


def read_model(data: DataDir, training_id: str) -> Model:
    """Raises: PairstreamError when there is no such model, or a file is damaged."""
    name = resolve(data, training_id)
    manifest = read_training(data.models / name)
    assert manifest is not None, "it was found by its manifest"
    return Model(
        is_latest=name == read_latest(data.models),
        archive=_archive(data, name),
        manifest=manifest,
        dataset=_dataset(data, manifest.dataset),
        history=[c for c in read_history(data.models) if name in (c.training_id, c.before)],
        forgotten={
            dataset: mark.runs
            for dataset, mark in read_marks(data).items()
            if dataset in learnt_from(data)[name]
        },
    )


def learnt_from(data: DataDir) -> dict[str, set[str]]:
    """Of each model the datasets that it, or one that it goes on from, was trained on."""
    found: dict[str, set[str]] = {}
    for manifest in _models(data):
        earlier = manifest.previous.training_id if manifest.previous else None
        found[manifest.training_id] = {manifest.dataset} | found.get(earlier or "", set())
    return found


def resolve(data: DataDir, training_id: str) -> str:
    """The model that is meant, by its id or as `latest`. Raises: PairstreamError."""
    wanted = read_latest(data.models) if training_id == LATEST else training_id
    if wanted is None:
        raise PairstreamError(f"no model in {data.models} is the latest yet")
    known = model_ids(data)
    if wanted in known:
        return wanted
    near = difflib.get_close_matches(wanted, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "see `pairstream models list`"
    raise PairstreamError(f"{wanted} is no model in {data.models}; {hint}")


def compare(first: Model, second: Model) -> Comparison:
    """Pure."""
    both = first, second
    names = [model.manifest.dataset_sha256.get("eval.jsonl") for model in both]
    figures = [_flat(gate_figures(model.manifest)) for model in both]
    return Comparison(
        models=(first.manifest.training_id, second.manifest.training_id),
        same_held_out=names[0] is not None and names[0] == names[1],
        figures=_side_by_side(figures[0], figures[1]),
        recipe=_differences(*(_recipe(model.manifest) for model in both)),
        dataset=_differences(*(_content(model) for model in both)),
    )


def gate_figures(manifest: TrainingManifest) -> dict[str, Any]:
    """What its training measured for the gate; empty where it measured nothing."""
    found = (manifest.figures or {}).get(FIGURES)
    return found if isinstance(found, dict) else {}


def _candidate(manifest: TrainingManifest) -> dict[str, Any] | None:
    found = gate_figures(manifest).get("candidate")
    return found if isinstance(found, dict) else None


def _models(data: DataDir) -> list[TrainingManifest]:
    folders = [path.parent for path in data.models.glob(f"*/{MANIFEST}")]
    found = [read_training(folder) for folder in folders if not folder.is_symlink()]
    ended = [manifest for manifest in found if manifest is not None and manifest.succeeded]
    return sorted(ended, key=lambda manifest: (manifest.finished_at, manifest.training_id))


def _archive(data: DataDir, training_id: str) -> str | None:
    path = archive_of(data.models, training_id)
    return str(path) if checksum_file(path).exists() else None


def _pairs(data: DataDir, manifest: TrainingManifest) -> int | None:
    told = (manifest.figures or {}).get("pairs")
    if isinstance(told, int):
        return told
    dataset = _dataset(data, manifest.dataset)
    return dataset.files[TRAIN].rows if dataset else None


def _dataset(data: DataDir, name: str) -> DatasetManifest | None:
    if name not in data.dataset_names():
        return None
    return read_manifest(data.datasets / name)


def _recipe(manifest: TrainingManifest) -> dict[str, Any]:
    """What it was trained with: the script's own account where it gives one."""
    figures = manifest.figures or {}
    told: dict[str, Any] = {
        name: figures[name] for name in ("arguments", "versions", "device") if name in figures
    }
    given = {"base_model": manifest.base_model, "image_tag": manifest.image_tag}
    if "arguments" not in told:
        told["arguments"] = " ".join(manifest.arguments)
    return _flat({**given, "launcher": manifest.launcher, **told})


def _content(model: Model) -> dict[str, Any]:
    files = {f"sha256.{name}": digest for name, digest in model.manifest.dataset_sha256.items()}
    told = {}
    if model.dataset is not None:
        fields = msgspec.to_builtins(model.dataset)
        told = {name: fields[name] for name in ("parent", "pairs", "runs", "rules", "settings")}
    return {"name": model.manifest.dataset, **files, **_flat(told)}


def _flat(value: Mapping[str, Any], start: str = "") -> dict[str, Any]:
    """Nested names joined by dots."""
    flat: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, dict):
            flat |= _flat(item, f"{start}{name}.")
        else:
            flat[start + name] = item
    return flat


def _side_by_side(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys([*first, *second])
    return {name: (first.get(name), second.get(name)) for name in names}


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    joined = _side_by_side(first, second)
    return {name: values for name, values in joined.items() if values[0] != values[1]}
