"""Merges a published adapter into its base: a model of its own, whole or not there."""

import importlib.util
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import msgspec

from pairstream.new_folder import folder_beside
from schemas.errors import PairstreamError
from schemas.printable import printable
from schemas.settings import TrainingSettings
from trainer.archive import files_in
from trainer.base_model import resolve_base_model
from trainer.datasets import file_sha256
from trainer.image import SCRIPT
from trainer.layout import MANIFEST, DataDir, sync_file, sync_folder, write_durably
from trainer.process_launcher import clean_environment
from trainer.published import verify_model
from trainer.training_manifest import ADAPTER, LAST_WORD, TrainingManifest


class Merged(msgspec.Struct, frozen=True):
    """What a folder with a merged model says of itself; the same model gives the same bytes."""

    training_id: str
    base_model: str
    adapter_sha256: str
    files: dict[str, str]


def merge_model(
    data: DataDir, manifest: TrainingManifest, settings: TrainingSettings, out: Path
) -> Merged:
    """Raises: PairstreamError; then there is no `out`."""
    verify_model(data.models, manifest)
    base = _base(manifest, settings)
    python = merging_python(data, manifest, settings)
    adapter = (data.models / manifest.training_id / ADAPTER).absolute()
    with folder_beside(out) as temporary:
        folder = temporary / "model"
        _run(python, base, adapter, folder)
        merged = Merged(
            training_id=manifest.training_id,
            base_model=_base_name(manifest) or base.name,
            adapter_sha256=manifest.files[f"{ADAPTER}/adapter_model.safetensors"],
            files={
                str(path.relative_to(folder)): file_sha256(path) for path in files_in(folder, ["."])
            },
        )
        for name in merged.files:
            sync_file(folder / name)
        write_durably(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(merged)) + b"\n")
        folder.rename(out)
    sync_folder(out.absolute().parent)
    return merged


def _base(manifest: TrainingManifest, settings: TrainingSettings) -> Path:
    """Raises: PairstreamError when it is not there, or has another name than what was trained."""
    wanted = settings.base_model or manifest.base_model
    base, name = resolve_base_model(wanted), _base_name(manifest)
    if name not in (None, wanted, base.name):
        raise PairstreamError(
            f"{manifest.training_id} was trained on {name}, and {wanted} is another model: name "
            "the right one with --base-model (a link of that name will do)"
        )
    return base


def _base_name(manifest: TrainingManifest) -> str | None:
    """As the adapter has it; a script of one's own may not tell."""
    name = (manifest.figures or {}).get("base_model")
    return name if isinstance(name, str) else None


def merging_python(data: DataDir, manifest: TrainingManifest, settings: TrainingSettings) -> str:
    """An interpreter with the packages: the one that is set, the training's own, the one in the
    data directory, or this one.

    Raises: PairstreamError when none has them.
    """
    if settings.training_python is not None:
        return settings.training_python
    own = manifest.image if manifest.launcher == "process" else None
    made = str(data.training_venv / "bin" / "python")
    there = [python for python in (own, made) if python is not None and Path(python).exists()]
    if there:
        return there[0]
    if importlib.util.find_spec("peft") is not None:
        return sys.executable
    raise PairstreamError(
        "no interpreter with the training's packages is here: name one with --training-python, "
        "install pairstream with its extra `train`, or merge in the training's image"
    )


def _run(python: str, base: Path, adapter: Path, folder: Path) -> None:
    """Raises: PairstreamError with the script's last word."""
    script = str(files("trainer") / SCRIPT)
    scratch = folder.with_name("scratch")
    scratch.mkdir()
    command = [python, script, "merge", "--base-model", str(base), "--adapter", str(adapter),
               "--output", str(folder)]  # fmt: skip
    try:
        done = subprocess.run(
            command,
            env=clean_environment(scratch),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise PairstreamError(f"{python} cannot be started: {error.strerror}") from error
    if done.returncode:
        last = printable((done.stderr.splitlines() or [f"exit code {done.returncode}"])[-1])
        raise PairstreamError(f"it cannot be merged: {last.removeprefix(LAST_WORD)}")
