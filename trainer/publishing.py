"""What becomes of a training that succeeded: it is judged, archived, and made `latest` or not."""

from collections.abc import Callable
from pathlib import Path

import structlog

from schemas.crash_points import crash_point
from schemas.rows import TrainingStepName
from trainer.archive import archive, checksum_file, told_checksum
from trainer.cancelling import Leave
from trainer.gate import judge
from trainer.gate_command import ask_command
from trainer.latest import promote_by_gate
from trainer.launcher import Plan
from trainer.layout import MANIFEST
from trainer.training_manifest import MADE, TrainingManifest
from trainer.verdict import Verdict

log = structlog.get_logger()

OnStep = Callable[[TrainingStepName, str | None], None]


def archive_of(models: Path, training_id: str) -> Path:
    return models / f"{training_id}.tar.gz"


def judged(plan: Plan, manifest: TrainingManifest, words: list[str], leave: Leave) -> Verdict:
    """By its figures, then by the user's command.

    A restart judges again, until the manifest with the verdict is written.

    Raises: the reason of `leave`, when that ended the command.
    """
    verdict = judge(manifest.figures or {}, plan.settings)
    if words and verdict.passed:
        seconds = plan.settings.gate_command_seconds
        check = ask_command(words, plan.folder, seconds=seconds, stop=leave)
        if check is None:
            raise leave.reason()
        verdict = verdict.and_also(check)
    crash_point("training.judged")
    return verdict


def publish(models: Path, manifest: TrainingManifest, on_step: OnStep) -> None:
    """The archive, then `latest` where the gate lets it; what it turned down is kept as well."""
    training_id = manifest.training_id
    why = manifest.gate.told if manifest.gate else "it was trained before there was a gate"
    on_step("gated", manifest.gate.word if manifest.gate else why)
    crash_point("training.gated")
    packed = archive_of(models, training_id)
    if not checksum_file(packed).exists():
        digest = archive(models / training_id, (*MADE, MANIFEST), packed)
        log.info("model_archived", archive=str(packed), sha256=digest)
    crash_point("training.archived")
    on_step("archived", f"sha256 {told_checksum(packed)}")
    crash_point("training.archived_told")
    step = manifest.gate_step
    if step == "promoted" and not promote_by_gate(models, training_id, why):
        return
    on_step(step, why)
    crash_point("training.gate_told")
