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
import tempfile
import time
from pathlib import Path

from trainer import supervise
from trainer.image import REQUIREMENTS, SCRIPT
from trainer.launcher import Ended, EngineUnavailable, Plan, Progress
from trainer.supervise import EXIT_CODE, LOCK

STOP_SECONDS = 60
POLL_SECONDS = 0.1


class ProcessLauncher:
    """Uses the interpreter of the settings, or a virtual environment that it makes."""

    name = "process"

    def __init__(self, venv: Path) -> None:
        self._venv = venv
        self._children: list[subprocess.Popen[bytes]] = []

    def prepare(self, plan: Plan, progress: Progress) -> str:
        if plan.settings.training_python:
            return plan.settings.training_python
        requirements = plan.context.files[REQUIREMENTS]
        marker = self._venv / f".complete-{hashlib.sha256(requirements).hexdigest()[:12]}"
        if not marker.exists():
            self._make_venv(plan, progress)
            marker.touch()
        return str(self._venv / "bin" / "python")

    def _make_venv(self, plan: Plan, progress: Progress) -> None:
        progress(f"installing the training's requirements into {self._venv}; takes some minutes")
        shutil.rmtree(self._venv, ignore_errors=True)
        python = str(self._venv / "bin" / "python")
        lines = plan.context.files[REQUIREMENTS].decode().splitlines()
        torch = next(line for line in lines if line.startswith("torch=="))
        requirements = str(plan.folder / "context" / REQUIREMENTS)
        with (plan.folder / "build.log").open("wb") as output:
            for command in (
                [sys.executable, "-m", "venv", str(self._venv)],
                # First and alone, so that a build of it that is at hand is taken.
                [python, "-m", "pip", "install", torch],
                [python, "-m", "pip", "install", "-r", requirements],
            ):
                progress(" ".join(command[1:]))
                if subprocess.run(command, stdout=output, stderr=output, check=False).returncode:
                    raise EngineUnavailable(
                        f"the training's requirements cannot be installed: see {output.name}"
                    )

    def start(self, plan: Plan) -> None:
        if (plan.folder / EXIT_CODE).exists() or self._runs(plan):
            return
        command = [
            self.prepare(plan, lambda _: None), "-u", str(plan.folder / "context" / SCRIPT),
            "--dataset", str(plan.dataset), "--base-model", str(plan.base_model),
            "--output", str(plan.folder), "--device", plan.settings.training_device,
            *plan.arguments,
        ]  # fmt: skip
        supervisor = [sys.executable, supervise.__file__, str(plan.folder), *command]
        child = subprocess.Popen(
            supervisor,
            env=_clean_environment(plan),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C for the trainer is none for the training
        )
        self._children.append(child)
        while not self._runs(plan) and child.poll() is None:
            time.sleep(POLL_SECONDS)

    def poll(self, plan: Plan) -> Ended | None:
        exit_code = plan.folder / EXIT_CODE
        if exit_code.exists():
            return Ended(int(exit_code.read_text()))
        if self._runs(plan):
            return None
        if exit_code.exists():  # it ended between the two looks
            return Ended(int(exit_code.read_text()))
        return Ended(137, "the process was killed together with its supervisor")

    def _runs(self, plan: Plan) -> bool:
        with (plan.folder / LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def stop(self, plan: Plan) -> None:
        supervisor = int((plan.folder / LOCK).read_text() or 0)
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + STOP_SECONDS
            if supervisor and self._runs(plan):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(supervisor, number)
            while self._runs(plan) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)

    def clean_up(self, plan: Plan) -> None:
        for child in self._children:
            child.poll()
        (plan.folder / LOCK).unlink(missing_ok=True)
        (plan.folder / EXIT_CODE).unlink(missing_ok=True)


def _clean_environment(plan: Plan) -> dict[str, str]:
    scratch = Path(tempfile.gettempdir(), f"pairstream-{plan.directory_id}-{plan.training_id}")
    caches = {
        name: str(scratch / name.lower())
        for name in ("HF_HOME", "HF_DATASETS_CACHE", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    }
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "CUDA_VISIBLE_DEVICES", "TMPDIR")
            if name in os.environ}  # fmt: skip
    return {**kept, **caches, "HOME": str(scratch)}
