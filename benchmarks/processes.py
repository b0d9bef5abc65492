"""Started commands: what they said and when, and how they end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

LOOK_SECONDS = 0.02
WAIT_SECONDS = 180.0

ROOT = Path(__file__).parents[1]

PAIRSTREAM = (sys.executable, "-m", "pairstream")


class Process:
    """A command that runs; its log is a file of JSON lines."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def said_at(self, event: str) -> float:
        """Seconds since 1970 at which it said this for the first time; waits for it."""
        self.wait_until(lambda: any(self.said(event)), f"it said {event!r}")
        first = next(self.said(event))
        return datetime.fromisoformat(first["timestamp"]).timestamp()

    def said(self, event: str) -> Iterator[dict[str, Any]]:
        """What it has said of this until now, oldest first."""
        for line in self.log.splitlines():
            if event in line and line.startswith("{"):
                said: dict[str, Any] = json.loads(line)
                if said.get("event") == event:
                    yield said

    def wait_until(
        self, holds: Callable[[], bool], what: str, *, look_seconds: float = LOOK_SECONDS
    ) -> None:
        """Raises: RuntimeError with the end of its log, when it ends before or it takes long."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not holds():
            if self._process.poll() is not None:
                raise RuntimeError(f"a process ended before {what}: {self.log[-3000:]}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what}: not within {WAIT_SECONDS} s: {self.log[-3000:]}")
            time.sleep(look_seconds)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, as a machine that dies."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM; raises where it does not end by it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(WAIT_SECONDS)


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], log: Path, *, cores: str = ""
) -> Iterator[Process]:
    """Runs within the block; killed at its end unless it ended before.

    Args:
        cores: that it may use, as `taskset` takes them; all by default.
    """
    pinned = ["taskset", "--cpu-list", cores, *command] if cores else list(command)
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned,
            env={**os.environ, **environment},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    started = Process(process, log)
    try:
        yield started
    finally:
        started.kill()


def output_of(command: Sequence[str], environment: Mapping[str, str], *, check: bool = True) -> str:
    """What a command wrote to its standard output. Raises: RuntimeError when it failed."""
    done = subprocess.run(
        list(command),
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} failed: {done.stderr[-3000:]}")
    return done.stdout


def probe(name: str, *arguments: object, environment: Mapping[str, str] | None = None) -> Any:
    """The JSON that a module of `benchmarks.probes` writes, in a process of its own."""
    command = (sys.executable, "-m", f"benchmarks.probes.{name}", *map(str, arguments))
    return json.loads(output_of(command, environment or {}))
