"""What is written down of a training: how it was started, and how it ended."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from schemas.errors import PairstreamError
from schemas.json_errors import JSON_ERRORS
from schemas.printable import printable
from schemas.rows import TrainingStepName
from trainer.archive import files_in
from trainer.datasets import DatasetManifest, file_sha256
from trainer.launcher import Ended, Plan, Previous
from trainer.layout import MANIFEST, content_of, sync_file, write_durably
from trainer.made_by import MadeBy, made_by
from trainer.verdict import Verdict

RESULT, METRICS, LOG, ADAPTER = "result.json", "metrics.jsonl", "training.log", "adapter"
CARD, PLOTS = "README.md", "plots"
MADE = (ADAPTER, METRICS, LOG, RESULT, CARD, PLOTS)

# Stands in the folder from the start of the script until nothing is left to do.
STARTED = ".started.json"

# The script's last word on its way out, in its log.
LAST_WORD = "train_dpo: "
LAST_WORD_CHARACTERS = 300

EXIT_MEANINGS = {
    2: "a flag in PAIRSTREAM_TRAINING_ARGS or a setting of the recipe is wrong",
    10: "the dataset or the base model is bad",
    11: "a GPU was asked for and there is none",
    12: "the GPU's memory ran out",
    13: "the loss became no number",
    14: "a check of the training failed",
    127: "its interpreter could not be started",
    137: "it was killed, most often for want of memory",
    143: "it was stopped",
}
CHECK_FAILED = 14


class Started(msgspec.Struct, frozen=True):
    """With what a training was first started, by whichever trainer, and when.

    `interruptions`: how often its engine ended it since; `at` is then the moment of the last one.
    `dataset_sha256` is null where an older trainer started it. `is_late`: it was stopped at its
    deadline, and does not go on.
    """

    at: datetime
    launcher: str
    image: str
    image_tag: str
    base_model: str
    arguments: list[str]
    interruptions: int = 0
    previous: Previous | None = None
    dataset_sha256: dict[str, str] | None = None
    is_late: bool = False

    @property
    def detail(self) -> str:
        """What the step `started` tells people."""
        times = self.interruptions
        return f"{self.launcher}, after {times} interruption(s)" if times else self.launcher


class TrainingManifest(msgspec.Struct, frozen=True, kw_only=True):
    """How a training ended. `made_by` saw its end; null where an older trainer did."""

    training_id: str
    dataset: str
    dataset_sha256: dict[str, str]
    base_model: str
    launcher: str
    image: str
    image_tag: str
    arguments: list[str]
    started_at: datetime
    finished_at: datetime
    exit_code: int
    why: str | None
    figures: dict[str, object] | None
    files: dict[str, str]
    interruptions: int = 0
    previous: Previous | None = None
    gate: Verdict | None = None
    made_by: MadeBy | None = None

    @property
    def succeeded(self) -> bool:
        return self.exit_code == 0

    @property
    def gate_step(self) -> TrainingStepName:
        """One that was never judged ended before there was a gate, and is as good as passed."""
        return "promoted" if self.gate is None or self.gate.passed else "refused"


def read_training(folder: Path) -> TrainingManifest | None:
    """None while it has not ended. Raises: PairstreamError when the manifest is damaged."""
    return _read(folder / MANIFEST, TrainingManifest)


def write_training(folder: Path, manifest: TrainingManifest) -> None:
    _write(folder / MANIFEST, manifest)


def read_started(folder: Path) -> Started | None:
    """None before its first start. Raises: PairstreamError when the record is damaged."""
    return _read(folder / STARTED, Started)


def write_started(folder: Path, started: Started) -> None:
    _write(folder / STARTED, started)


def how_it_ended(
    plan: Plan, dataset: DatasetManifest, started: Started, ended: Ended
) -> TrainingManifest:
    """Judge what the script left; success needs an adapter and a result that can be read."""
    code, why = ended.code, ended.why
    figures = _figures(plan.folder / RESULT)
    weights = plan.folder / ADAPTER / "adapter_model.safetensors"
    if not code and (figures is None or weights not in files_in(plan.folder, [ADAPTER])):
        code, why = CHECK_FAILED, f"it left no adapter or no {RESULT}: see {plan.folder / LOG}"
    if code and why is None:
        meaning = EXIT_MEANINGS.get(code, f"exit code {code}")
        why = f"{meaning}{_last_word(plan.folder / LOG)}: see {plan.folder / LOG}"
    # The script makes the other files safe, this one is not its.
    if plan.folder / LOG in files_in(plan.folder, [LOG]):
        sync_file(plan.folder / LOG)
    return TrainingManifest(
        training_id=plan.training_id,
        dataset=dataset.name,
        dataset_sha256=started.dataset_sha256 or dataset.hashes,
        base_model=started.base_model,
        launcher=started.launcher,
        image=started.image,
        image_tag=started.image_tag,
        arguments=started.arguments,
        started_at=started.at,
        finished_at=datetime.now(UTC),
        exit_code=code,
        why=why,
        figures=figures,
        files={
            str(path.relative_to(plan.folder)): file_sha256(path)
            for path in files_in(plan.folder, MADE)
        },
        interruptions=started.interruptions,
        previous=started.previous,
        made_by=made_by(),
    )


def _last_word(log: Path) -> str:
    """What the script itself says of its end, in brackets; on one line, whatever it quotes."""
    try:
        lines = content_of(log).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    last = lines[-1] if lines else ""
    if not last.startswith(LAST_WORD):
        return ""
    return f" ({printable(last.removeprefix(LAST_WORD)[:LAST_WORD_CHARACTERS])})"


def _figures(result: Path) -> dict[str, object] | None:
    try:
        return msgspec.json.decode(content_of(result), type=dict[str, object])
    except (FileNotFoundError, ValueError, RecursionError):  # it may have left anything
        return None


S = TypeVar("S", bound=msgspec.Struct)


def _read(path: Path, kind: type[S]) -> S | None:
    try:
        return msgspec.json.decode(content_of(path), type=kind)
    except FileNotFoundError:
        return None
    except JSON_ERRORS as error:
        raise PairstreamError(f"{path} is damaged ({error}): restore it") from error


def _write(path: Path, content: msgspec.Struct) -> None:
    write_durably(path, msgspec.json.format(msgspec.json.encode(content)) + b"\n")
