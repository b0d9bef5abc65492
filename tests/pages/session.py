"""A reader at work: one shell for a page's commands, and further terminals for what goes on."""

import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Self

COMMAND_SECONDS = 240.0
START_SECONDS = STOP_SECONDS = 60.0
LOOK_SECONDS = 0.05

# How what is ended by SIGTERM may end: by itself, by the signal, or saying that it was that.
GOOD_ENDS = (0, -signal.SIGTERM, 128 + signal.SIGTERM)


class Done(NamedTuple):
    code: int
    output: str


class Behind(NamedTuple):
    """What goes on while the page goes on; `process` is None where the page's own shell has it."""

    command: str
    pid: int
    output: Path
    process: subprocess.Popen[bytes] | None

    @property
    def told(self) -> str:
        return self.output.read_text(errors="replace")


class Session:
    """A context manager. What goes on is ended at its end, by its id, and must end well."""

    def __init__(self, folder: Path, logs: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._logs = logs
        self._env = dict(env)
        self._count = 0
        self._behind: list[Behind] = []

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=self._folder,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        wrong = list(filter(None, map(self._end, reversed(self._behind))))
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.close()
        self._shell.stdout.close()
        self._shell.wait(STOP_SECONDS)
        assert not wrong, "\n".join(wrong)

    def told(self) -> str:
        """All that was said so far, by whatever runs or ran."""
        places = sorted(self._logs.glob("*.out"))
        return "".join(place.read_text(errors="replace") for place in places)

    def run(self, command: str, *, seconds: float = COMMAND_SECONDS) -> Done:
        """To its end, with nothing to read from; its output holds what it says on both."""
        output, code, _ = self._type(command, seconds)
        return Done(code, output.read_text(errors="replace"))

    def start(self, command: str, is_up: Callable[[str], object]) -> None:
        """Until it says what shows that it is up; in a terminal of its own, but for one with `&`.

        That terminal has the variables and the folder that the page's shell has by now.
        """
        behind = self._own(command) if command.endswith("&") else self._other(command)
        self._behind.append(behind)
        deadline = time.monotonic() + START_SECONDS
        while True:
            runs = self._runs(behind)  # asked first: what it said at its end counts
            if is_up(behind.told):
                return
            assert runs, f"`{command}` ended before it was up:\n{behind.told[-4000:]}"
            assert time.monotonic() < deadline, f"`{command}` is not up:\n{behind.told[-4000:]}"
            time.sleep(LOOK_SECONDS)

    def _own(self, command: str) -> Behind:
        output, _, pid = self._type(command, COMMAND_SECONDS)
        return Behind(command, pid, output, None)

    def _other(self, command: str) -> Behind:
        state = self._logs / "state"
        self.run(f"{{ pwd; env --null; }} >{shlex.quote(str(state))}")
        place, _, variables = state.read_text().partition("\n")
        env = dict(line.split("=", 1) for line in variables.split("\0") if "=" in line)
        self._count += 1
        output = self._logs / f"{self._count:03}.out"
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "--noprofile", "--norc", "-c", command],
                cwd=place, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            )  # fmt: skip
        return Behind(command, process.pid, output, process)

    def _runs(self, behind: Behind) -> bool:
        if behind.process is not None:
            return behind.process.poll() is None
        return self.run(f"kill -0 {behind.pid} 2>/dev/null").code == 0

    def _end(self, behind: Behind) -> str | None:
        """What is wrong with how it ended."""
        if self._runs(behind):
            os.kill(behind.pid, signal.SIGTERM)
        if behind.process is not None:
            code = behind.process.wait(STOP_SECONDS)
        else:
            code = self.run(f"wait {behind.pid}", seconds=STOP_SECONDS).code
        if code in GOOD_ENDS:
            return None
        return f"`{behind.command}` ended with {code}:\n{behind.told[-4000:]}"

    def _type(self, command: str, seconds: float) -> tuple[Path, int, int]:
        """Its output, its exit code, and the id of the last process in the background.

        The shell reads it from a file, so that it may take several lines and any quotes.
        """
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._count += 1
        script, output = (self._logs / f"{self._count:03}.{kind}" for kind in ("sh", "out"))
        script.write_text(command + "\n")
        self._shell.stdin.write(
            f". {shlex.quote(str(script))} </dev/null >{shlex.quote(str(output))} 2>&1; "
            "printf '%s %s\\n' $? ${!:-0}\n"
        )
        with selectors.DefaultSelector() as selector:
            selector.register(self._shell.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                os.killpg(self._shell.pid, signal.SIGKILL)
                said = output.read_text(errors="replace")[-4000:]
                raise AssertionError(f"`{command}` takes more than {seconds:.0f} s:\n{said}")
        answer = self._shell.stdout.readline()
        assert answer, f"`{command}` ended the shell"
        code, pid = map(int, answer.split())
        return output, code, pid
