"""One training at a time for each GPU of a host, whichever data directories they belong to.

Guarantee: a lock ends with the process that holds it. A container outlives its trainer, so a GPU
whose trainer was stopped counts as free until that one comes back.
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.settings import TrainingSettings
from trainer.cancelling import Leave

# Made for locks, and open to all users; only Linux has it.
LOCKS = Path("/run/lock")

# How the drivers of GPUs show themselves: on Linux, and on Linux under Windows.
DEVICES = Path("/dev")
GPU_DEVICES = ("nvidia[0-9]*", "dxg")

# Launchers whose trainings run on this host; elsewhere, others see to its GPUs and its memory.
ON_THIS_HOST = ("docker", "process")

POLL_SECONDS = 1.0

WAITS = "waits for the GPU: another training on this host has it"


def gpu_lock(settings: TrainingSettings) -> Path | None:
    """The lock of the GPU that the training would take; None where it takes none of this host."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0") if settings.launcher == "process" else "0"
    first = visible.split(",")[0].strip()
    if settings.launcher not in ON_THIS_HOST or first in ("", "-1"):
        return None
    if not uses_gpu(settings):
        return None
    folder = LOCKS if os.access(LOCKS, os.W_OK) else Path(tempfile.gettempdir())
    return folder / f"pairstream-gpu-{re.sub('[^A-Za-z0-9-]', '_', first)}.lock"


def uses_gpu(settings: TrainingSettings) -> bool:
    """Whether it takes a GPU, as far as this host can tell: `cuda`, or `auto` where one is."""
    if settings.training_device == "auto":
        return any(True for name in GPU_DEVICES for _ in DEVICES.glob(name))
    return settings.training_device == "cuda"


@contextmanager
def gpu_held(
    lock: Path | None, *, runs: Callable[[], bool], leave: Leave, on_wait: Callable[[str], None]
) -> Iterator[None]:
    """Hold it; waits while another training has it, unless ours `runs` there already.

    Raises: the reason of `leave`, while it waits.
    """
    if lock is None:
        yield
        return
    handle = _opened(lock)
    try:
        while not _taken(handle) and not runs():
            on_wait(WAITS)
            leave.wait(POLL_SECONDS)
            leave.check()
        yield
    finally:
        os.close(handle)


def _opened(path: Path) -> int:
    """No link is followed, and none but its maker writes to it: others may, in such a folder."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        pass
    try:
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return os.open(path, flags)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
