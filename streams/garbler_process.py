"""A local model in a process of its own, so that its libraries, memory and death are not ours.

One child at a time, loaded once; one that dies or hangs is ended, and the next text starts another.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import structlog
from msgspec import Struct

from schemas.events import Message
from streams.high_temperature import Ask, ModelFailed, NoSample

log = structlog.get_logger()

CHILD = Path(__file__).with_name("garbler_child.py")

# Many gigabytes of weights may come from a slow disk.
LOAD_SECONDS = 900.0

# What the child may know of our environment: no secret, no proxy, no hub.
KEPT_VARIABLES = frozenset(
    {
        "PATH",
        "LANG",
        "HOME",
        "TMPDIR",
        "PYTHONPATH",
        "LD_LIBRARY_PATH",
        "CUDA_VISIBLE_DEVICES",
        "OMP_NUM_THREADS",
    }
)
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class Request(Struct):
    """One line to the child; the text is to be about as long as `like`."""

    prompt: list[Message]
    like: str
    seed: int
    temperature: float


class Answer(Struct):
    """One line from the child: a text, or what went wrong; neither once the model is loaded."""

    text: str | None = None
    error: str | None = None


class ChildGone(Exception):
    """It has ended, or what it says is no answer."""


class Child:
    """A started child; `read` and `ask` block until it answers or is ended."""

    def __init__(self, folder: Path) -> None:
        kept = {name: os.environ[name] for name in KEPT_VARIABLES & os.environ.keys()}
        self._process = subprocess.Popen(
            # It imports nothing of ours, and -P keeps our modules' names out of its way.
            [sys.executable, "-P", str(CHILD), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries may quote what they work on
            env=kept | OFFLINE,
            start_new_session=True,  # Ctrl-C is for the worker
        )
        self.pid = self._process.pid
        self._in = cast("IO[bytes]", self._process.stdin)
        self._out = cast("IO[bytes]", self._process.stdout)

    def read(self) -> Answer:
        """Raises: ChildGone."""
        try:
            return msgspec.json.decode(self._out.readline(), type=Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ChildGone from error

    def ask(self, request: Request) -> Answer:
        """Raises: ChildGone."""
        try:
            self._in.write(msgspec.json.encode(request) + b"\n")
            self._in.flush()
        except OSError as error:
            raise ChildGone from error
        return self.read()

    def end(self) -> int:
        """Returns its exit code."""
        self._process.kill()
        code = self._process.wait()
        for pipe in (self._in, self._out):
            with suppress(OSError):  # what it had not read yet is of no use
                pipe.close()
        return code


class ModelProcess:
    """Samples from the model in `folder`.

    Guarantee: on one machine the same prompt, good text and seed give the same text, whatever else
    is asked.
    """

    at_once = 1

    def __init__(self, folder: Path, *, temperature: float, timeout_seconds: float) -> None:
        self.child: Child | None = None
        self._folder = folder
        self._temperature = temperature
        self._timeout_seconds = timeout_seconds

    async def sample(self, ask: Ask) -> str:
        child = self.child or await self._start()
        request = Request(ask.prompt, ask.good, ask.seed, self._temperature)
        answer = await self._answer(child.ask, request, seconds=self._timeout_seconds)
        if answer.text is None:
            raise NoSample(answer.error or "no_text")
        return answer.text

    async def aclose(self) -> None:
        if self.child is not None:
            self._end(self.child)

    async def _start(self) -> Child:
        self.child = child = Child(self._folder)
        answer = await self._answer(child.read, seconds=LOAD_SECONDS)
        if answer.error is not None:
            self._end(child)
            log.warning("garbler_model_refused", folder=str(self._folder), why=answer.error)
            raise ModelFailed("model_refused")
        log.info("garbler_model_loaded", folder=str(self._folder), pid=child.pid)
        return child

    async def _answer(
        self, blocking: Callable[..., Answer], *arguments: Any, seconds: float
    ) -> Answer:
        """Whatever breaks the wait off ends the child: its late answer would be the next one's."""
        child = self.child
        assert child is not None
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.to_thread(blocking, *arguments)
        except (TimeoutError, ChildGone) as error:
            why = "timed_out" if isinstance(error, TimeoutError) else "model_ended"
            log.warning("garbler_model_ended", why=why, exit_code=self._end(child))
            raise ModelFailed(why) from error
        except asyncio.CancelledError:
            self._end(child)
            raise

    def _end(self, child: Child) -> int:
        self.child = None
        return child.end()
