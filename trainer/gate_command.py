"""The user's own gate: a command that gets the model's folder and says by its exit code."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Protocol

from schemas.errors import InvalidSettings, PairstreamError
from schemas.settings import ENVIRONMENT_PREFIX, SECRET_FILE_SUFFIX, SECRETS
from schemas.traces import SECRET_VARIABLES
from trainer.layout import open_no_link
from trainer.verdict import Check

LOG = "gate.log"

POLL_SECONDS = 0.1
STOP_SECONDS = 10.0

TAIL_BYTES = 4096
REASON_CHARACTERS = 200


class Stop(Protocol):
    """A wish to end, such as a threading.Event."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float) -> bool:
        """Whether it is set by then."""
        ...


def gate_words(command: str) -> list[str]:
    """The command as an argument list, empty where there is none; no shell ever sees it.

    Raises: InvalidSettings, also when its program is not there: better now than after hours.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InvalidSettings(f"PAIRSTREAM_GATE_COMMAND: {error}") from error
    if words and shutil.which(words[0]) is None:
        raise InvalidSettings(f"PAIRSTREAM_GATE_COMMAND: {words[0]} is no program that can be run")
    return words


def ask_command(words: list[str], folder: Path, *, seconds: float, stop: Stop) -> Check | None:
    """Run it where the trainer runs; None when `stop` ended it, so that the next start asks again.

    Its output goes to `gate.log` in the folder; the last line of it is the reason.

    Raises: PairstreamError when it cannot be started.
    """
    log = folder / LOG
    try:
        with open_no_link(log, "wb") as output:
            process = subprocess.Popen(
                [*words, str(folder)],
                env=without_secrets(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    except OSError as error:
        raise PairstreamError(
            f"{words[0]} cannot be started ({error.strerror}): see PAIRSTREAM_GATE_COMMAND"
        ) from error
    try:
        code = _wait(process, time.monotonic() + seconds, stop)
    finally:
        _end(process)
    if code is None and stop.is_set():
        return None
    late = f"it took longer than {seconds:g} s"
    reason = late if code is None else _last_line(log) or f"exit code {code}"
    return Check(name="command", passed=code == 0, candidate=code, limit="exit code 0", note=reason)


def _wait(process: subprocess.Popen[bytes], until: float, stop: Stop) -> int | None:
    """Its exit code; None when it has not ended by itself."""
    while (code := process.poll()) is None:
        if time.monotonic() > until or stop.wait(POLL_SECONDS):
            return None
    return code


def _end(process: subprocess.Popen[bytes]) -> None:
    """Where it runs: first asked, then killed, with all that it started."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(log: Path) -> str | None:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    said = [line for line in lines if line]
    return _harmless(said[-1][:REASON_CHARACTERS]) if said else None


def _harmless(text: str) -> str:
    """It may quote what an agent wrote, and is shown on terminals."""
    return "".join(char if char.isprintable() else "?" for char in text)


def without_secrets() -> dict[str, str]:
    """Our environment, for a program that is none of ours."""
    names = {ENVIRONMENT_PREFIX + name.upper() for name in SECRETS}
    secret = names | {name + SECRET_FILE_SUFFIX.upper() for name in names}
    secret |= SECRET_VARIABLES
    return {name: value for name, value in os.environ.items() if name not in secret}
