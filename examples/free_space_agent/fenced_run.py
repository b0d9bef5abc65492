"""Compiles and runs one program in a process of its own, behind the fence of `fence_prelude`."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fence_prelude import COMPILED, FENCED

_PRELUDE = Path(__file__).with_name("fence_prelude.py")
_KEPT_BYTES = 64 * 1024
_ERROR_CHARACTERS = 300
_KILLS = (-signal.SIGKILL, -signal.SIGTERM)
_LINE_OF_PROGRAM = re.compile(r'File "program\.py", line (\d+)')


@dataclass(frozen=True)
class Limits:
    """What one program may use."""

    wall_seconds: float = 10.0
    cpu_seconds: int = 3
    memory_bytes: int = 512 * 1024**2
    file_bytes: int = 16 * 1024**2


ORDINARY_LIMITS = Limits()


@dataclass(frozen=True)
class Ran:
    """What became of a program. `is_void`: the machine failed, which says nothing about it."""

    compiled: bool
    ran: bool
    output: str
    error: str | None
    is_void: bool = False


def run_fenced(program: str, folder: Path, limits: Limits) -> Ran:
    """Compile `program` and run it in `folder`, the only place where it may change files.

    A limit that it runs into is its own failure. Void are: no process, a fence that does not
    stand, and a kill that came neither from a limit nor from the program.
    """
    status, childs_status = os.pipe()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = _start(folder, limits, childs_status, output, errors)
        except OSError as error:
            os.close(status)
            return Ran(False, False, "", f"no process to run it in: {error}", is_void=True)
        finally:
            os.close(childs_status)
        is_late = not _finishes(process, program, limits.wall_seconds)
        stages = os.read(status, 2)
        os.close(status)
        code = process.returncode
        compiled = COMPILED in stages
        return Ran(
            compiled=compiled,
            ran=compiled and code == 0,
            output=_text(output, folder),
            error=_error(code, _text(errors, folder), limits, is_late=is_late),
            is_void=FENCED not in stages or (code in _KILLS and not is_late),
        )


def _start(
    folder: Path, limits: Limits, status: int, output: IO[bytes], errors: IO[bytes]
) -> subprocess.Popen[bytes]:
    numbers = (status, limits.cpu_seconds, limits.memory_bytes, limits.file_bytes)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", _PRELUDE, folder, *map(str, numbers)],
        cwd=folder,
        env={"HOME": str(folder), "TMPDIR": str(folder / "tmp"), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=errors,
        pass_fds=(status,),
        start_new_session=True,  # a Ctrl-C is for the agent, which lets this attempt finish
    )


def _finishes(process: subprocess.Popen[bytes], program: str, wall_seconds: float) -> bool:
    try:
        process.communicate(program.encode(errors="surrogatepass"), wall_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return False
    return True


def _error(code: int, errors: str, limits: Limits, *, is_late: bool) -> str | None:
    """One line for the agent to learn from; None when there was no error."""
    if is_late:
        return f"stopped after {limits.wall_seconds:g} s"
    if code == -signal.SIGXCPU:
        return f"stopped after {limits.cpu_seconds} s of CPU time"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    if code == 0:
        return None
    said = errors.strip().rpartition("\n")[2][:_ERROR_CHARACTERS] or f"exit code {code}"
    lines = _LINE_OF_PROGRAM.findall(errors)
    return f"line {lines[-1]}: {said}" if lines else said


def _text(stream: IO[bytes], folder: Path) -> str:
    """The end of what a program wrote, without its folder's name, which is never the same."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _KEPT_BYTES))
    return stream.read().decode(errors="replace").replace(str(folder), ".")
