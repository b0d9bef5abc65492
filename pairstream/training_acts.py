"""What a person does with trainings: read along, cancel, have one tried again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep

from pairstream.tail import LogTail
from pairstream.training_facts import TrainingFacts, find_training, read_story, training_facts
from schemas.errors import PairstreamError
from schemas.rows import TrainingStepName
from schemas.settings import TrainingSettings
from trainer.cancelling import WISH, wish_to_cancel
from trainer.datasets import read_manifest
from trainer.layout import DataDir
from trainer.training_manifest import LOG, TrainingManifest

POLL_SECONDS = 0.5

BAD_DATA = 10  # the script's exit code where the dataset or the base model is bad


def cancel(data: DataDir, wanted: str, why: str) -> str:
    """Leave the wish in the training's folder; returns what to tell.

    Raises: PairstreamError when it has ended.
    """
    folder = find_training(data, wanted)
    _refuse_ended(_facts(data, folder))
    wish_to_cancel(folder, why)
    facts = _facts(data, folder)
    if facts.has_ended:  # it came too late, and nobody takes it away any more
        (folder / WISH).unlink(missing_ok=True)
        _refuse_ended(facts)
    return (
        f"{wanted} is to be cancelled: who trains ends it, or the next trainer does; see "
        f"`pairstream trainings show {wanted}`"
    )


def _refuse_ended(facts: TrainingFacts) -> None:
    if facts.has_ended:
        raise PairstreamError(f"{facts.training_id} has {facts.state}: nothing is to be cancelled")


def retriable(data: DataDir, wanted: str, settings: TrainingSettings) -> Path:
    """The dataset on which a failed training may be tried again.

    Raises: PairstreamError when it has not failed, or would fail for the same reason.
    """
    story = read_story(data, wanted)
    if story.manifest is None:
        raise PairstreamError(
            f"{wanted} has not ended ({story.facts.state}): wait for it, or "
            f"`pairstream trainings cancel {wanted}`"
        )
    if story.manifest.succeeded:
        raise PairstreamError(
            f"{wanted} has succeeded: `pairstream train` trains its dataset once more"
        )
    name = story.manifest.dataset
    if name not in data.dataset_names():
        raise PairstreamError(
            f"{name} is no dataset of {data.root}: name its folder to `pairstream train`"
        )
    _refuse_bad_data(story.manifest, data.datasets / name, settings)
    return data.datasets / name


def _refuse_bad_data(manifest: TrainingManifest, dataset: Path, settings: TrainingSettings) -> None:
    """What was bad stays bad, unless another base model is named or the dataset was made anew."""
    hashes = read_manifest(dataset).hashes
    is_same = (hashes, settings.base_model) == (manifest.dataset_sha256, manifest.base_model)
    if manifest.exit_code == BAD_DATA and is_same:
        raise PairstreamError(
            f"{manifest.training_id} failed for its dataset or base model, and both are the same: "
            f"{manifest.why}; once that is mended, `pairstream train {dataset}` trains on it"
        )


def log_lines(
    data: DataDir, wanted: str, *, follow: bool, tell: Callable[[str], None]
) -> Iterator[str]:
    """Whole lines of the training's log; with `follow`, until it has ended.

    Args:
        tell: with `follow`, takes what is said beside the log: what comes when it grows no more,
            and how it has ended.

    Raises: PairstreamError when there is no log yet, and none is waited for.
    """
    folder = find_training(data, wanted)
    tail = LogTail(folder / LOG)
    state: TrainingStepName | None = None
    while True:
        facts = _facts(data, folder)  # looked at first: the end of the log comes before it
        yield from tail.news()
        if facts.has_ended or not follow:
            break
        if facts.state == "finished" != state:
            tell(f"{wanted}: its script has ended; the trainer judges what came of it")
        state = facts.state
        sleep(POLL_SECONDS)
    yield from tail.rest()
    if follow:
        tell(_end(facts))
    if tail.is_missing:
        raise PairstreamError(
            f"{wanted} has no log yet ({facts.state}): --follow waits for it; what was built is in "
            f"{folder / 'build.log'}"
        )


def _end(facts: TrainingFacts) -> str:
    if facts.state == "failed":
        return f"{facts.training_id} has failed: {facts.detail}"
    gate = f", gate {facts.gate.word}" if facts.gate else ""
    return f"{facts.training_id} has succeeded{gate}"


def _facts(data: DataDir, folder: Path) -> TrainingFacts:
    return training_facts(data, folder, None)
