"""One training from a published dataset to an archived model, resumable at every step.

Guarantee: its script runs to its end once, whatever is killed when; `manifest.json` says how it
ended and stands there only when it has; a successful training has its archive when the archive's
checksum file is there.
"""

import shlex
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from schemas.crash_points import crash_point
from schemas.rows import TrainingStepName
from schemas.settings import TrainingSettings
from trainer.archive import archive, checksum_file
from trainer.base_model import resolve_base_model
from trainer.datasets import DatasetManifest, file_sha256, verify_dataset
from trainer.image import training_context
from trainer.launcher import Ended, Launcher, Plan
from trainer.layout import MANIFEST, sync_folder, write_durably

log = structlog.get_logger()

POLL_SECONDS = 0.5

RESULT, METRICS, LOG, ADAPTER = "result.json", "metrics.jsonl", "training.log", "adapter"
ARCHIVED = (ADAPTER, METRICS, LOG, RESULT, MANIFEST)

EXIT_MEANINGS = {
    10: "the dataset or the base model is bad",
    11: "a GPU was asked for and there is none",
    12: "the GPU's memory ran out",
    13: "the loss became no number",
    14: "a check of the training failed",
    137: "it was killed",
    143: "it was stopped",
}

OnStep = Callable[[TrainingStepName, str | None], None]


class TrainingInterrupted(Exception):
    """The trainer stops; the training goes on, and the next start follows it."""


class TrainingManifest(msgspec.Struct, frozen=True, kw_only=True):
    """How a training ended."""

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

    @property
    def succeeded(self) -> bool:
        return self.exit_code == 0


@dataclass(frozen=True)
class TrainingRequest:
    """What is to be trained, and where its folder `models/<training_id>` lies."""

    training_id: str
    directory_id: str
    dataset: Path
    models: Path

    @property
    def folder(self) -> Path:
        return self.models / self.training_id

    @property
    def archive(self) -> Path:
        return self.models / f"{self.training_id}.tar.gz"

    def is_done(self) -> bool:
        """Whether nothing is left to do for it."""
        manifest = read_training(self.folder)
        if manifest is None:
            return False
        return not manifest.succeeded or checksum_file(self.archive).exists()


def read_training(folder: Path) -> TrainingManifest | None:
    """None while it has not ended."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=TrainingManifest)
    except FileNotFoundError:
        return None


def run_training(
    request: TrainingRequest,
    settings: TrainingSettings,
    launcher: Launcher,
    *,
    on_step: OnStep,
    stop: threading.Event,
) -> TrainingManifest:
    """Train, archive, clean up; blocks until it has ended.

    Raises:
        EngineUnavailable: it cannot run now; nothing was started.
        TrainingInterrupted: `stop` was set while it ran; it goes on running.
        PairstreamError: dataset or base model are not what they should be.
    """
    dataset = verify_dataset(request.dataset)
    plan = _plan(request, settings)
    manifest = read_training(request.folder)
    if manifest is None:
        manifest = _train(request, plan, dataset, launcher, on_step, stop)
    crash_point("training.ended")
    if manifest.succeeded:
        _archive(request)
    launcher.clean_up(plan)
    crash_point("training.cleaned_up")
    on_step("succeeded" if manifest.succeeded else "failed", manifest.why)
    return manifest


def _plan(request: TrainingRequest, settings: TrainingSettings) -> Plan:
    base_model = resolve_base_model(settings.base_model)
    name = ["--base-model-name", settings.base_model or base_model.name]
    if Path(name[1]).is_absolute():
        name[1] = base_model.name
    return Plan(
        training_id=request.training_id,
        directory_id=request.directory_id,
        dataset=request.dataset.absolute(),
        base_model=base_model,
        folder=request.folder.absolute(),
        arguments=[*name, *shlex.split(settings.training_args)],
        settings=settings,
        context=training_context(),
    )


def _train(
    request: TrainingRequest,
    plan: Plan,
    dataset: DatasetManifest,
    launcher: Launcher,
    on_step: OnStep,
    stop: threading.Event,
) -> TrainingManifest:
    plan.folder.mkdir(parents=True, exist_ok=True)
    plan.context.write(plan.folder / "context")
    on_step("requested", None)
    crash_point("training.requested")
    image = launcher.prepare(plan, lambda line: log.info("training_prepared", step=line))
    crash_point("training.prepared")
    started_at = _started_at(plan.folder)
    launcher.start(plan)
    crash_point("training.started")
    on_step("started", launcher.name)
    ended = _follow(plan, launcher, started_at, stop)
    crash_point("training.script_ended")
    manifest = _manifest(request, plan, dataset, launcher.name, image, started_at, ended)
    if manifest.succeeded:
        shutil.rmtree(plan.folder / "checkpoints", ignore_errors=True)
    encoded = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
    write_durably(plan.folder / MANIFEST, encoded)
    return manifest


def _started_at(folder: Path) -> datetime:
    """When it was first started, by whichever trainer: its deadline counts from then."""
    file = folder / ".started_at"
    if not file.exists():
        write_durably(file, datetime.now(UTC).isoformat().encode())
    return datetime.fromisoformat(file.read_text())


def _follow(plan: Plan, launcher: Launcher, started_at: datetime, stop: threading.Event) -> Ended:
    limit = plan.settings.training_deadline_seconds
    while (ended := launcher.poll(plan)) is None:
        if stop.wait(POLL_SECONDS):
            raise TrainingInterrupted
        if (datetime.now(UTC) - started_at).total_seconds() > limit:
            launcher.stop(plan)
            ended = launcher.poll(plan) or Ended(137)
            return Ended(ended.code or 137, f"it took longer than {limit:.0f} s")
    return ended


def _manifest(
    request: TrainingRequest,
    plan: Plan,
    dataset: DatasetManifest,
    launcher: str,
    image: str,
    started_at: datetime,
    ended: Ended,
) -> TrainingManifest:
    result = plan.folder / RESULT
    weights = plan.folder / ADAPTER / "adapter_model.safetensors"
    code, why = ended.code, ended.why
    if not code and not (result.is_file() and weights.is_file()):
        code, why = 14, "it left no adapter"
    if code and why is None:
        why = f"{EXIT_MEANINGS.get(code, f'exit code {code}')}: see {plan.folder / LOG}"
    roots = [plan.folder / name for name in (ADAPTER, METRICS, LOG, RESULT)]
    paths = [path for root in roots for path in (root, *root.rglob("*"))]
    return TrainingManifest(
        training_id=request.training_id,
        dataset=dataset.name,
        dataset_sha256={name: entry.sha256 for name, entry in dataset.files.items()},
        base_model=str(plan.settings.base_model),
        launcher=launcher,
        image=image,
        image_tag=plan.context.tag,
        arguments=plan.arguments,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        exit_code=code,
        why=why,
        figures=msgspec.json.decode(result.read_bytes()) if result.is_file() else None,
        files={
            str(path.relative_to(plan.folder)): file_sha256(path)
            for path in sorted(set(paths))
            if path.is_file()
        },
    )


def _archive(request: TrainingRequest) -> None:
    if not checksum_file(request.archive).exists():
        digest = archive(request.folder, ARCHIVED, request.archive)
        log.info("model_archived", archive=str(request.archive), sha256=digest)
    crash_point("training.archived")
    temporary = request.models / ".latest.tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(request.training_id)
    temporary.replace(request.models / "latest")
    sync_folder(request.models)
    crash_point("training.latest")
