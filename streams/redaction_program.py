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
# The first one after a start: the program may have a model to load before.
FIRST_ANSWER_SECONDS = 60.0
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

    Of a worker, started before: what it loads, it loads while the worker joins its group.
    """

    def __init__(self, words: list[str]) -> None:
        """Raises: InvalidSettings when there is no such program."""
        if shutil.which(words[0]) is None:
            raise InvalidSettings(
                f"PAIRSTREAM_REDACT_COMMAND: {words[0]} is no program that can be run"
            )
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None
        self._has_answered = False
        self._failures = 0
        self._pause_seconds = 0.0
        self._paused_until = 0.0

    def warm_up(self) -> None:
        """For a worker, whose other runs shall not wait for a program that fails again and again:
        it is left alone for a while then. Raises: InvalidSettings when it cannot be started.
        """
        self._pause_seconds = PAUSE_SECONDS
        try:
            self._started()
        except OSError as error:
            raise InvalidSettings(f"PAIRSTREAM_REDACT_COMMAND: {error}") from error

    def ask(self, texts: list[str], beat: Beat = no_beat) -> list[str]:
        """Blocking, for a second at most, or a minute after a start. Raises: NotRedacted."""
        if time.monotonic() < self._paused_until:
            raise NotRedacted("the program failed again and again, and is left alone for a while")
        try:
            answer = self._answer(texts, beat)
        except (NotRedacted, OSError) as error:
            self.close()
            self._failures += 1
            if self._failures >= FAILURES:
                self._paused_until = time.monotonic() + self._pause_seconds
            log.error("redaction_failed", why=str(error), in_a_row=self._failures)
            raise NotRedacted(str(error)) from error
        self._failures = 0
        return answer

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _answer(self, texts: list[str], beat: Beat) -> list[str]:
        process = self._started()
        seconds = ANSWER_SECONDS if self._has_answered else FIRST_ANSWER_SECONDS
        line = _exchange(process, msgspec.json.encode(texts) + b"\n", seconds, beat)
        self._has_answered = True
        try:
            answer = _decode(line)
            "".join(answer).encode()
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise NotRedacted("its answer is no JSON list of texts") from error
        if len(answer) != len(texts):
            raise NotRedacted(f"it answered {len(texts)} texts with {len(answer)}")
        return answer

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            self._has_answered = False
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
        return self._process


def _without_secrets() -> dict[str, str]:
    """None of ours is its business."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ENVIRONMENT_PREFIX) and name not in SECRET_VARIABLES
    }


def _exchange(
    process: "subprocess.Popen[bytes]", question: bytes, seconds: float, beat: Beat
) -> bytes:
    """Write and read at once: either pipe may be full. Raises: NotRedacted, OSError."""
    assert process.stdin is not None
    assert process.stdout is not None
    deadline = time.monotonic() + seconds
    left, answer = memoryview(question), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdin, selectors.EVENT_WRITE)
        selector.register(process.stdout, selectors.EVENT_READ)
        while not answer.endswith(b"\n"):
            left_seconds = deadline - time.monotonic()
            ready = selector.select(min(BEAT_SECONDS, max(0.0, left_seconds)))
            beat()
            if not ready and left_seconds <= BEAT_SECONDS:
                raise NotRedacted(f"it gave no answer within {seconds:.0f} s")
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    left = left[_write(key.fd, left[:CHUNK_BYTES]) :]
                    if not left:
                        selector.unregister(process.stdin)
                    continue
                part = os.read(key.fd, CHUNK_BYTES)
                answer += part
                if not part or len(answer) > ANSWER_MAX_BYTES:
                    raise NotRedacted("it ended, or its answer has no end")
    if left:
        raise NotRedacted("it answered before it had read all texts")
    return bytes(answer)


def _write(file: int, part: memoryview) -> int:
    try:
        return os.write(file, part)
    except BrokenPipeError as error:
        raise NotRedacted("it ended before it had read all texts") from error
