"""What a training needs: an engine or an interpreter, a GPU where it is wanted, a base model."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from pairstream.doctor.findings import Finding, from_error, guarded, note, ok, wrong
from schemas.errors import PairstreamError
from schemas.settings import TrainerSettings
from trainer.base_model import WEIGHTS, check_links, is_hub_name, resolve_base_model
from trainer.disk import disk_of
from trainer.room import disk_wanted, model_bytes, shown

ENGINE_SECONDS = 10
INTERPRETER_SECONDS = 10

ASK_FOR_TRL = "import importlib.util, sys; sys.exit(importlib.util.find_spec('trl') is None)"


def check_training(settings: TrainerSettings) -> Iterator[Finding]:
    """Fetches no model and starts no container."""
    if settings.launcher == "none":
        yield ok("launcher", "none: datasets are cut, nothing is trained here")
        return
    if settings.launcher == "docker":
        yield from guarded("docker", lambda: _check_engine(settings.training_device))
    if settings.launcher == "process":
        yield from guarded("interpreter", lambda: [check_interpreter(settings.training_python)])
    model = settings.base_model
    yield from guarded("base model", lambda: [check_base_model(model, settings.launcher)])
    yield from guarded("room", lambda: _check_room(settings))


def _check_room(settings: TrainerSettings) -> Iterator[Finding]:
    size = model_bytes(Path(settings.base_model)) if settings.base_model else 0
    free = disk_of(settings.data_dir).free
    return room_findings(settings.data_dir, free, disk_wanted(size, settings))


def _check_engine(device: str) -> Iterator[Finding]:
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=ENGINE_SECONDS)
    except (DockerException, ValueError) as error:  # of an address, such as one without a port
        yield _no_engine(error)
        return
    try:
        info: Mapping[str, Any] = client.info()
    except (DockerException, OSError) as error:
        yield _no_engine(error)
        return
    finally:
        client.close()
    yield ok(
        "docker",
        f"Docker Engine {info.get('ServerVersion', '?')}, {info.get('NCPU', '?')} CPUs, "
        f"{info.get('MemTotal', 0) / 2**30:.1f} GiB of memory",
    )
    yield gpu_finding(info, device)


def _no_engine(error: Exception) -> Finding:
    return wrong(
        "docker",
        f"no Docker Engine answers ({type(error).__name__})",
        "start it, let this user reach its socket (DOCKER_HOST), or set "
        "PAIRSTREAM_LAUNCHER=process or none",
    )


def gpu_finding(info: Mapping[str, Any], device: str) -> Finding:
    """By what the engine tells of itself. Pure."""
    if device == "cpu":
        return ok("gpu", "PAIRSTREAM_TRAINING_DEVICE=cpu: none is asked for")
    if "nvidia" in (info.get("Runtimes") or {}) or info.get("DiscoveredDevices"):
        return ok("gpu", "the engine gives containers a GPU (NVIDIA)")
    remedy = "install the NVIDIA container toolkit on the engine's host"
    if device == "cuda":
        remedy += ", or set PAIRSTREAM_TRAINING_DEVICE=auto"
        return wrong("gpu", "the engine has no GPU for containers, and cuda is wanted", remedy)
    return note("gpu", "the engine has no GPU for containers: trainings use the CPU", remedy)


def room_findings(data_dir: Path, free: int, wanted: int) -> Iterator[Finding]:
    """What the trainer asks before each training; sizes in bytes. Pure."""
    if free < wanted:
        yield wrong(
            "room",
            f"a training wants {shown(wanted)} of disk, and {shown(free)} are free for {data_dir}",
            "make room, or lower PAIRSTREAM_TRAINING_SPARE_DISK: until then none starts",
        )


def check_interpreter(python: str | None) -> Finding:
    """Whether it starts and knows of TRL, which it does not import: that takes long."""
    if python is None:
        return ok("interpreter", "one is made in the data directory before the first training")
    otherwise = "unset PAIRSTREAM_TRAINING_PYTHON: then one is made in the data directory"
    try:
        done = subprocess.run(
            [python, "-I", "-c", ASK_FOR_TRL],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=INTERPRETER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        found = f"{python} does not start ({type(error).__name__})"
        return wrong("interpreter", found, f"name one that is there, or {otherwise}")
    if done.returncode:
        found = f"{python} has no trl, so it cannot train"
        return wrong("interpreter", found, f"name one with the extra `train`, or {otherwise}")
    return ok("interpreter", f"{python}: has trl")


def check_base_model(name: str | None, launcher: str) -> Finding:
    """Only looks at a folder; a hub's name is left to the training."""
    if name is not None and is_hub_name(name) and not Path(name).is_dir():
        return note(
            "base model",
            f"{name} is no folder here: it would be fetched from a hub when it is needed",
            "fetch it once and name the folder, so that a training needs no network",
        )
    try:
        folder = resolve_base_model(name)
        if launcher != "process":
            check_links(folder)
    except PairstreamError as error:
        return from_error("base model", error, marks=[": "])
    if not any(folder.glob(WEIGHTS)):
        return wrong(
            "base model",
            f"{folder} holds no weights ({WEIGHTS})",
            "name a folder that transformers' save_pretrained wrote",
        )
    if not _has_chat_template(folder):
        return wrong(
            "base model",
            f"{folder} has no chat template, which pairs of messages need",
            "use an instruct model, or add its chat_template.jinja",
        )
    return ok("base model", f"{folder}: safetensors, with a chat template")


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    config = folder / "tokenizer_config.json"
    try:
        return bool(orjson.loads(config.read_bytes()).get("chat_template"))
    except (OSError, orjson.JSONDecodeError, AttributeError):
        return False
