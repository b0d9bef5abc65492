"""The operator's own redaction: a program that answers each line of texts with a line of texts.

A line is a JSON list of texts. Fails closed: what is not answered in time and in form is not
redacted, and no row is made of it.
"""

import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Callable

import msgspec
import structlog

from schemas.errors import InvalidSettings
from schemas.settings import ENVIRONMENT_PREFIX
from schemas.traces import SECRET_VARIABLES

log = structlog.get_logger()

# All other runs of the worker wait for an answer.
ANSWER_SECONDS = 1.0
# A start: the program may have a model to load.
START_SECONDS = 60.0
BEAT_SECONDS = 0.5
# After so many failures in a row it is left alone for a while, and nothing is redacted meanwhile.
FAILURES = 3
PAUSE_SECONDS = 10.0

CHUNK_BYTES = 65_536
ANSWER_MAX_BYTES = 2**30

# Called at least each `BEAT_SECONDS` while an answer is awaited.
Beat = Callable[[], None]

_decode = msgspec.json.Decoder(list[str]).decode


def no_beat() -> None:
    """For those of whom nobody wants to know."""


class NotRedacted(Exception):
    """The texts cannot be shown to be free of what must not be in rows."""


class RedactionProgram:
    """Started when it is first needed, and again after each failure; ends with our process.

    A start may take a while, for a model to be loaded: it is over when an empty list is answered.
    Of a worker, it is over before its work begins; after a failure its runs do not wait for it.
    """

    def __init__(self, words: list[str]) -> None:
        """Raises: InvalidSettings when there is no such program."""
        if shutil.which(words[0]) is None:
            raise InvalidSettings(
                f"PAIRSTREAM_REDACT_COMMAND: {words[0]} is no program that can be run"
            )
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None
        self._starting: _Exchange | None = None
        self._failures = 0
        # How long a run waits for a start, and runs for a program that fails again and again.
        self._start_seconds = START_SECONDS
        self._pause_seconds = 0.0
        self._paused_until = 0.0

    def warm_up(self) -> None:
        """For a worker, whose other runs shall wait for nothing that takes long.

        Raises: InvalidSettings when it cannot be started.
        """
        try:
            self._started(no_beat)
        except (NotRedacted, OSError) as error:
            self.close()
            raise InvalidSettings(f"PAIRSTREAM_REDACT_COMMAND: {error}") from error
        self._failures = 0
        self._start_seconds = ANSWER_SECONDS
        self._pause_seconds = PAUSE_SECONDS

    def ask(self, texts: list[str], beat: Beat = no_beat) -> list[str]:
        """Blocking: for a second at most, and for a start. Raises: NotRedacted."""
        if time.monotonic() < self._paused_until:
            raise NotRedacted("the program failed again and again, and is left alone for a while")
        try:
            exchange = _Exchange(self._started(beat), texts, ANSWER_SECONDS)
            answer = exchange.go_on(ANSWER_SECONDS, beat)
        except (NotRedacted, OSError) as error:
            if not isinstance(error, _StillStarts):
                self._failed()
            log.error("redaction_failed", why=str(error), in_a_row=self._failures)
            raise NotRedacted(str(error)) from error
        self._failures = 0
        return answer

    def _failed(self) -> None:
        self.close()
        self._failures += 1
        if self._failures >= FAILURES:
            self._paused_until = time.monotonic() + self._pause_seconds

    def close(self) -> None:
        self._starting = None
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self, beat: Beat) -> "subprocess.Popen[bytes]":
        """Raises: NotRedacted, OSError."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=_without_secrets(),
                start_new_session=True,  # Ctrl-C is for the worker
            )
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                os.set_blocking(pipe.fileno(), False)
            self._starting = _Exchange(self._process, [], START_SECONDS)
        if self._starting is not None:
            self._starting.go_on(self._start_seconds, beat)
            self._starting = None
        return self._process


class _StillStarts(NotRedacted):
    """It may answer the next one."""


class _Exchange:
    """One question and its answer, for which there are so many seconds."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", texts: list[str], seconds: float
    ) -> None:
        self._process = process
        self._texts = texts
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._question = memoryview(msgspec.json.encode(texts) + b"\n")
        self._answer = bytearray()

    def go_on(self, seconds: float, beat: Beat) -> list[str]:
        """Until the answer is there. Raises: NotRedacted, OSError; _StillStarts when only the
        seconds given here are over.
        """
        until = min(self._deadline, time.monotonic() + seconds)
        while not self._answer.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 and until == self._deadline:
                raise NotRedacted(f"it gave no answer within {self._seconds:g} s")
            if left <= 0:
                raise _StillStarts("the program is being started")
            self._move(min(BEAT_SECONDS, left))
            beat()
        if self._question:
            raise NotRedacted("it answered before it had read all texts")
        return self._decoded()

    def _move(self, seconds: float) -> None:
        """Write and read at once: either pipe may be full."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            if self._question:
                selector.register(stdin, selectors.EVENT_WRITE)
            ready = [key.fileobj for key, _ in selector.select(seconds)]
        if stdin in ready:
            self._question = self._question[_write(stdin.fileno(), self._question[:CHUNK_BYTES]) :]
        if stdout in ready:
            part = os.read(stdout.fileno(), CHUNK_BYTES)
            self._answer += part
            if not part or len(self._answer) > ANSWER_MAX_BYTES:
                raise NotRedacted("it ended, or its answer has no end")

    def _decoded(self) -> list[str]:
        try:
            answer = _decode(self._answer)
            "".join(answer).encode()
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise NotRedacted("its answer is no JSON list of texts") from error
        if len(answer) != len(self._texts):
            raise NotRedacted(f"it answered {len(self._texts)} texts with {len(answer)}")
        return answer


def _without_secrets() -> dict[str, str]:
    """None of ours is its business."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ENVIRONMENT_PREFIX) and name not in SECRET_VARIABLES
    }


def _write(file: int, part: memoryview) -> int:
    try:
        return os.write(file, part)
    except BrokenPipeError as error:
        raise NotRedacted("it ended before it had read all texts") from error
