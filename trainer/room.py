"""Whether a host has the disk and the memory that a training will want: asked before, not hours in.

The estimates are low: a training that is let start may still run out of either.
"""

import re
import shutil
from pathlib import Path

from schemas.settings import ROOM_OFF, TrainingSettings
from trainer.gpu import ON_THIS_HOST, uses_gpu
from trainer.launcher import EngineUnavailable, Plan

MEMORY = Path("/proc/meminfo")
_AVAILABLE = re.compile(r"^MemAvailable: +([0-9]+) kB$", re.MULTILINE)

UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}

# Weights of 16 bits become 4.
QUANTIZED = 4


def check_room(plan: Plan) -> None:
    """Raises: EngineUnavailable when either is short now."""
    settings, size = plan.settings, model_bytes(plan.base_model)
    free = shutil.disk_usage(plan.folder).free
    memory = available_memory() if settings.launcher in ON_THIS_HOST else None
    _check("disk", "PAIRSTREAM_TRAINING_SPARE_DISK", disk_wanted(size, settings), free,
           f"in {plan.folder.parent}")  # fmt: skip
    if memory is not None:
        wanted = memory_wanted(size, settings, on_gpu=uses_gpu(settings))
        _check("memory", "PAIRSTREAM_TRAINING_SPARE_MEMORY", wanted, memory, "available")


def _check(what: str, setting: str, wanted: int, there: int, where: str) -> None:
    if there < wanted:
        raise EngineUnavailable(
            f"too little {what}: {shown(wanted)} are wanted (for the base model, and {setting}) "
            f"and {shown(there)} are {where}: make room, or lower {setting}"
        )


def disk_wanted(model: int, settings: TrainingSettings) -> int:
    """Bytes; as much as the base model for what the training writes, checkpoints the most of it."""
    if settings.training_spare_disk == ROOM_OFF:
        return 0
    return model + as_bytes(settings.training_spare_disk)


def memory_wanted(model: int, settings: TrainingSettings, *, on_gpu: bool) -> int:
    """Bytes of the host's memory; on a GPU the model only passes through it, piece by piece."""
    if settings.training_spare_memory == ROOM_OFF:
        return 0
    spare = as_bytes(settings.training_spare_memory)
    if on_gpu:
        return spare
    return spare + (model // QUANTIZED if settings.training_quantization == "nf4" else model)


def as_bytes(text: str) -> int:
    """Of a number with `k`, `m` or `g` behind it, or none."""
    number = text.rstrip("kmgKMG")
    return int(number) * UNITS[text[len(number) :].lower()]


def shown(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 // 10 else f"{size / 2**20:.1f} MiB"


def model_bytes(base_model: Path) -> int:
    """Of its weights."""
    return sum(file.stat().st_size for file in base_model.glob("*.safetensors"))


def available_memory() -> int | None:
    """Bytes; None where the system does not tell."""
    try:
        found = _AVAILABLE.search(MEMORY.read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
