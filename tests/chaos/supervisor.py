"""Starts commands again when they end, as an operator's supervisor does, and remembers the ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

LIMIT_SECONDS = 60.0
LOOK_SECONDS = 0.05
# How supervisors pace restarts, so that a command that cannot work does not spin.
RESTART_SECONDS = 0.3


def wait_until(holds: Callable[[], bool], what: str, *, seconds: float = LIMIT_SECONDS) -> float:
    """The seconds that it took. Raises: ChaosError when it does not come true in time."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > seconds:
            raise ChaosError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - began


class ChaosError(Exception):
    """The deployment did not do in time what it must."""


@dataclass
class Life:
    """One process from its start to its end; `asked` are the signals that we sent."""

    name: str
    process: "subprocess.Popen[bytes]"
    log_path: Path
    asked: list[signal.Signals] = field(default_factory=list)

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def send(self, number: signal.Signals) -> bool:
        """Whether it was there to be struck."""
        if self.has_ended:
            return False
        self.asked.append(number)
        self.process.send_signal(number)
        return True


class Supervised:
    """One module's command, always running until `retire`."""

    def __init__(self, name: str, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self.name = name
        self.lives: list[Life] = []
        self._command = [sys.executable, "-m", *command]
        self._folder = folder
        self._env = {**os.environ, **env}
        self._is_wanted = True
        self._lock = threading.Lock()
        self._begin()
        self._thread = threading.Thread(target=self._keep_alive, name=name, daemon=True)
        self._thread.start()

    def _begin(self) -> None:
        log = self._folder / f"{self.name}.{len(self.lives) + 1:03d}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._command,
                env=self._env,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.lives.append(Life(self.name, process, log))

    def _keep_alive(self) -> None:
        while True:
            self.life.process.wait()
            time.sleep(RESTART_SECONDS)
            with self._lock:
                if not self._is_wanted:
                    return
                self._begin()

    @property
    def life(self) -> Life:
        return self.lives[-1]

    def alive(self) -> Life:
        """Its life now, or the next one when it has just ended."""
        wait_until(lambda: not self.life.has_ended, f"the next start of {self.name}")
        return self.life

    def dismiss(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Let this life be the last, and end it."""
        with self._lock:
            self._is_wanted = False
        self.life.send(number)

    def await_end(self) -> int:
        """After `dismiss`; returns the exit code."""
        self._thread.join(LIMIT_SECONDS)
        if self._thread.is_alive():
            raise ChaosError(f"{self.name} did not end within {LIMIT_SECONDS:.0f} s of SIGTERM")
        return self.life.process.returncode

    def retire(self) -> int:
        """End it for good by SIGTERM; returns the exit code."""
        self.dismiss()
        return self.await_end()

    def abandon(self) -> None:
        """Clean up: no process stays behind."""
        self.dismiss(signal.SIGKILL)
        self._thread.join()
