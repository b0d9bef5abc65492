"""Trains in a process of a virtual environment, where there is no Docker.

What a container forbids, a process may do: it runs as the trainer's user, with network and files.
It gets a clean environment, so no secret of the trainer's is in it.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from trainer import supervise
from trainer.gate_command import without_secrets
from trainer.image import REQUIREMENTS, SCRIPT, BuildContext
from trainer.launcher import ASKED_TO_END, KILLED, Ended, EngineUnavailable, Plan, Progress
from trainer.layout import make_folder, open_no_link
from trainer.rounds import round_flags
from trainer.supervise import EXIT_CODE, LOCK
from trainer.training_manifest import LOG

STOP_SECONDS = 60
POLL_SECONDS = 0.1

# Home and caches of the script, in the training's folder.
SCRATCH = "scratch"


class ProcessLauncher:
    """Uses the interpreter of the settings, or a virtual environment that it makes."""

    name = "process"

    def __init__(self, venv: Path) -> None:
        self._venv = venv
        self._children: list[subprocess.Popen[bytes]] = []

    def prepare(self, plan: Plan, progress: Progress) -> str:
        if plan.settings.training_python:
            return plan.settings.training_python
        return training_environment(self._venv, plan.context, plan.folder / "build.log", progress)

    def start(self, plan: Plan) -> None:
        if (plan.folder / EXIT_CODE).exists() or self._runs(plan) or _was_killed(plan):
            return  # what became of it, `poll` says
        command = [
            self.prepare(plan, lambda _: None), "-u", str(plan.folder / "context" / SCRIPT),
            "--dataset", str(plan.dataset), "--base-model", str(plan.base_model),
            "--output", str(plan.folder), "--device", plan.settings.training_device,
            *round_flags(plan.previous, str(plan.previous_adapter)), *plan.arguments,
        ]  # fmt: skip
        supervisor = [sys.executable, "-I", supervise.__file__, str(plan.folder), *command]
        scratch = plan.folder / SCRATCH
        scratch.mkdir(exist_ok=True)
        (plan.folder / LOCK).write_text("")  # no number of one that is gone
        with open_no_link(plan.folder / LOG, "ab") as output:
            child = subprocess.Popen(
                supervisor,
                env=clean_environment(scratch),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C for the trainer is none for the training
            )
        self._children.append(child)
        while not self._runs(plan) and child.poll() is None:
            time.sleep(POLL_SECONDS)

    def poll(self, plan: Plan) -> Ended | None:
        running = self._runs(plan)  # looked at first: it may end between the two looks
        exit_code = plan.folder / EXIT_CODE
        if exit_code.exists():
            code = int(exit_code.read_text())
            # 137 is none: what kills the script and not its supervisor is most often want of memory
            if code == ASKED_TO_END:
                why = f"the machine or somebody asked it to end ({code})"
                return Ended(code, why, interrupted=True)
            return Ended(code)
        if running:
            return None
        why = "its supervisor was killed, so nobody knows how it ended"
        return Ended(KILLED, why, interrupted=True)

    def _runs(self, plan: Plan) -> bool:
        with (plan.folder / LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def stop(self, plan: Plan) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + STOP_SECONDS
            signalled = False
            while self._runs(plan) and time.monotonic() < deadline:
                group = (plan.folder / LOCK).read_text()
                if group and not signalled:
                    signalled = True
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(int(group), number)
                time.sleep(POLL_SECONDS)

    def clean_up(self, plan: Plan) -> None:
        for child in self._children:
            child.poll()
        shutil.rmtree(plan.folder / SCRATCH, ignore_errors=True)
        (plan.folder / LOCK).unlink(missing_ok=True)
        (plan.folder / EXIT_CODE).unlink(missing_ok=True)


def _was_killed(plan: Plan) -> bool:
    """Whether a supervisor is gone that has not said how it ended: its number is left."""
    lock = plan.folder / LOCK
    return lock.exists() and lock.read_text() != ""


def training_environment(venv: Path, context: BuildContext, log: Path, progress: Progress) -> str:
    """The interpreter of a virtual environment with the context's requirements, made when missing.

    Raises: EngineUnavailable when it cannot be made, or another process makes it.
    """
    requirements = context.files[REQUIREMENTS]
    marker = venv / f".complete-{hashlib.sha256(requirements).hexdigest()[:12]}"
    if not marker.exists():
        progress(f"installing the training's requirements into {venv}; takes some minutes")
        with _locked(venv) as lock, open_no_link(log, "wb") as output:
            for command in _install(venv, requirements):
                progress(" ".join(["python", *command[1:]]))
                # It inherits the lock: outliving us, it still is the one that writes there.
                done = subprocess.run(
                    command,
                    env=without_secrets(),
                    stdout=output,
                    stderr=output,
                    check=False,
                    pass_fds=[lock.fileno()],
                )
                if done.returncode:
                    raise EngineUnavailable(
                        f"the training's requirements cannot be installed: see {log}"
                    )
            os.sync()  # what pip wrote, before the word that it is there
            marker.touch()
    return str(venv / "bin" / "python")


def _install(venv: Path, requirements: bytes) -> Iterator[list[str]]:
    """Commands that make the virtual environment, one after another."""
    shutil.rmtree(venv, ignore_errors=True)
    yield [sys.executable, "-m", "venv", str(venv)]
    file, python = venv / REQUIREMENTS, str(venv / "bin" / "python")
    file.write_bytes(requirements)
    # First and alone, so that a build of it that is at hand is taken.
    yield [python, "-m", "pip", "install", _torch(requirements.decode())]
    yield [python, "-m", "pip", "install", "-r", str(file)]


def _torch(requirements: str) -> str:
    return next(line for line in requirements.splitlines() if line.startswith("torch=="))


@contextlib.contextmanager
def _locked(venv: Path) -> Iterator[IO[str]]:
    """Raises: EngineUnavailable while another process makes the virtual environment."""
    make_folder(venv.parent)
    with venv.with_name(f".{venv.name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EngineUnavailable(f"another process makes {venv}: wait for it") from error
        yield lock


def clean_environment(scratch: Path) -> dict[str, str]:
    """For a process that trains or merges: no secrets, and its caches in one place."""
    caches = {
        name: str(scratch / name.lower())
        for name in ("HF_HOME", "HF_DATASETS_CACHE", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    }
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "CUDA_VISIBLE_DEVICES", "TMPDIR")
            if name in os.environ}  # fmt: skip
    return {**kept, **caches, "HOME": str(scratch)}
