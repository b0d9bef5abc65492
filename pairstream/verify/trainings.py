"""Trainings by their topic and by their folders: one for each dataset, on the bytes that it has.

And the latest model: one that passed its gate, or that a person promoted.
"""

from collections.abc import Iterable
from pathlib import Path

from confluent_kafka import Message

from pairstream.verify.files import DataFiles
from pairstream.verify.report import Check
from schemas.errors import InvalidRecord, PairstreamError
from schemas.rows import LATEST_STEPS, parse_training_step
from trainer.latest import LATEST, Change, read_history, read_latest
from trainer.layout import DataDir
from trainer.training_manifest import TrainingManifest, read_training

# Of a training that the topic tells of: its dataset's hashes, and where each was first told.
Told = dict[str, dict[str, str]]


def check_trainings(
    check: Check, messages: Iterable[Message], data: DataDir, files: DataFiles
) -> None:
    """A training that a user asked for (`pairstream train`) has a folder and no steps: it may be
    one more of a dataset.
    """
    told = _read_steps(check, messages)
    known = {dataset.name: dataset.manifest for dataset in files.datasets}
    for folder in _folders(data.models):
        manifest = _read(check, folder)
        dataset = known.get(manifest.dataset) if manifest else None
        if manifest is None or dataset is None:
            continue
        check.checked += 1
        if manifest.dataset_sha256 != dataset.hashes:
            what = f"trained on other bytes than {dataset.name} has"
            check.found(what, id=manifest.training_id, at=str(folder))
        steps = told.get(manifest.training_id)
        if steps and dataset.sha256 not in steps:
            what = f"its steps name another hash than {dataset.name} has"
            check.found(what, id=manifest.training_id, at=next(iter(steps.values())))
    _check_latest(check, data.models)


def _check_latest(check: Check, models: Path) -> None:
    latest = read_latest(models)
    if latest is None:
        return
    check.checked += 1
    at = str(models / LATEST)
    try:
        manifest, history = read_training(models / latest), read_history(models)
    except PairstreamError as error:
        check.found(str(error), id=latest, at=at)
        return
    if manifest is None or not manifest.succeeded:
        check.found("the latest model is no training that succeeded", id=latest, at=at)
    elif manifest.gate_step == "refused" and not _is_wanted(history, latest):
        check.found("the latest model was refused by its gate", id=latest, at=at)


def _is_wanted(history: list[Change], latest: str) -> bool:
    """Whether a person made it the latest in spite of its gate."""
    return any(each.by == "user" and each.training_id == latest for each in history)


def _read_steps(check: Check, messages: Iterable[Message]) -> Told:
    """Steps by training; two trainings of the same dataset are one too many."""
    told: Told = {}
    first: dict[tuple[str, str], str] = {}
    for message in messages:
        at = f"{message.topic()}/{message.partition()}/{message.offset()}"
        try:
            step = parse_training_step(message.value())
        except InvalidRecord:
            check.found("no step of a training", at=at)
            continue
        check.checked += 1
        if step is None:  # of a newer trainer
            continue
        is_new = step.dataset_sha256 not in told.setdefault(step.training_id, {})
        told[step.training_id].setdefault(step.dataset_sha256, at)
        if step.step in LATEST_STEPS:  # told of what a user had trained as well
            continue
        other = first.setdefault((step.dataset, step.dataset_sha256), step.training_id)
        if is_new and other != step.training_id:
            what = f"{step.dataset} is trained as {other} already"
            check.found(what, id=step.training_id, at=at)
    return told


def _folders(models: Path) -> list[Path]:
    if not models.is_dir():
        return []
    return [path for path in sorted(models.iterdir()) if path.is_dir() and not path.is_symlink()]


def _read(check: Check, folder: Path) -> TrainingManifest | None:
    try:
        return read_training(folder)
    except PairstreamError as error:
        check.found(str(error), id=folder.name)
        return None
