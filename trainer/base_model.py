"""Finds the base model: a folder, or a hub name where a hub can be reached."""

import os
import shlex
import shutil
from pathlib import Path

from schemas.errors import InvalidSettings, PairstreamError
from schemas.settings import TrainingSettings
from trainer.layout import sync_file

CONFIG, WEIGHTS = "config.json", "*.safetensors"

PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")

# Read as weights alone, they run nothing: PyTorch refuses whatever else is in them.
CONVERSION = (
    "from transformers import AutoModelForCausalLM as M; "
    "M.from_pretrained('{folder}', use_safetensors=False).save_pretrained('{folder}')"
)

# Weights as safetensors and text: no pickles, which are programs.
WANTED = [WEIGHTS, "*.json", "*.txt", "*.model", "*.jinja"]


def base_model_of(settings: TrainingSettings) -> Path:
    """The folder of the model, as a training of the launcher can read it.

    Raises: PairstreamError when there is none, with what to set or to do.
    """
    folder = resolve_base_model(settings.base_model)
    if settings.launcher in ("process", "none"):
        return folder
    check_links(folder)
    return _without_links(folder.resolve()) if _links_out(folder) else folder


def check_links(folder: Path) -> None:
    """A container sees the folder alone; of a hub's cache, which others read too, it gets a copy.

    Raises: PairstreamError where it could not follow a link of another folder.
    """
    links = _links_out(folder)
    if links and folder.resolve().parent.name != "snapshots":
        copy = shlex.join(["cp", "-rL", str(folder), f"{folder}-copy"])
        raise PairstreamError(
            f"{links[0]} is a link out of its folder, which is all that a container sees: copy "
            f"the model ({copy}), and set PAIRSTREAM_BASE_MODEL to the copy"
        )


def _links_out(folder: Path) -> list[Path]:
    inside = folder.resolve()
    files = sorted(path for pattern in WANTED for path in folder.glob(pattern))
    return [path for path in files if not path.resolve().is_relative_to(inside)]


def resolve_base_model(name: str | None) -> Path:
    """The folder of the model.

    Raises: InvalidSettings when none is named, PairstreamError when it is none, with what to do.
    """
    if name is None:
        raise InvalidSettings(
            "no base model is set: set PAIRSTREAM_BASE_MODEL to a folder with a transformers "
            "model, or PAIRSTREAM_LAUNCHER=none to cut datasets only"
        )
    folder = Path(name)
    if folder.is_dir():
        if not (folder / CONFIG).is_file():
            raise PairstreamError(
                f"{folder} is no transformers model, it has no {CONFIG}: name a folder that "
                "save_pretrained wrote"
            )
        _refuse_pickles(folder)
        return folder.absolute()
    if not is_hub_name(name):
        raise PairstreamError(
            f"the base model {name} is not there: set PAIRSTREAM_BASE_MODEL to a folder that is"
        )
    return _download(name)


def _refuse_pickles(folder: Path) -> None:
    """Weights in a pickle could run code. Raises: PairstreamError where there are no others."""
    if any(folder.glob(WEIGHTS)):
        return
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        command = shlex.join(["python", "-c", CONVERSION.format(folder=folder.absolute())])
        raise PairstreamError(
            f"{folder} has its weights in a pickle ({pickles[0]}) alone, which could run code: "
            f"write safetensors beside it, where transformers is installed: {command}"
        )


def is_hub_name(name: str) -> bool:
    """Whether it could be one, where no folder has it."""
    return not name.startswith((".", "/", "~")) and name.count("/") == 1


def _download(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise PairstreamError(
            f"the base model {name} is no folder, and without huggingface_hub it cannot be "
            "fetched: pip install huggingface_hub, or name a folder"
        ) from error
    try:
        snapshot = Path(snapshot_download(name, allow_patterns=WANTED))
    except Exception as error:
        raise PairstreamError(
            f"the base model {name} is no folder here, and no hub gives a model of that name "
            f"({type(error).__name__}): name a folder"
        ) from error
    return _without_links(snapshot)


def _without_links(snapshot: Path) -> Path:
    """The same files beside it: a snapshot is links, which lead out of what a container sees."""
    plain = snapshot.parent.parent / "pairstream" / snapshot.name
    try:
        plain.mkdir(parents=True, exist_ok=True)
        for path in snapshot.iterdir():
            if path.is_file() and not (plain / path.name).exists():
                _link_or_copy(path.resolve(), plain / path.name)
    except OSError as error:
        raise PairstreamError(
            f"{plain} cannot be written ({error.strerror}): name a folder with the model's files"
        ) from error
    return plain


def _link_or_copy(source: Path, target: Path) -> None:
    """The copy is for file systems without links, and for files of another user's."""
    try:
        target.hardlink_to(source)
    except OSError:
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            shutil.copyfile(source, temporary)
            sync_file(temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
