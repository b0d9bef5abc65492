"""Runs the parts of a rebuild beside one another and gathers what they report."""

import selectors
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Protocol, cast

import msgspec

from pairstream.reports import Report
from schemas.errors import PairstreamError


class Work(Protocol):
    """What a process is told, as JSON on its standard input; `folder` is made for it."""

    @property
    def folder(self) -> str: ...


def run_parts(
    module: str, works: Sequence[Work], progress: Callable[[int], None] = lambda _: None
) -> list[Report]:
    """Run `module` once for each work, all at once.

    Returns: the last report of each; `progress` gets the sum of the records that they have read.

    Guarantee: none of the processes is left when it returns or raises.
    Raises: PairstreamError, also when one ended without its result.
    """
    with ExitStack() as stack, selectors.DefaultSelector() as outputs:
        newest = [Report() for _ in works]
        for number, work in enumerate(works):
            process = _start(module, work)
            stack.callback(_end, process)
            outputs.register(cast("IO[bytes]", process.stdout), selectors.EVENT_READ, number)
        while outputs.get_map():
            for key, _ in outputs.select():
                line = cast("IO[bytes]", key.fileobj).readline()
                newest[key.data] = report = _report(line)
                if report.done:
                    outputs.unregister(key.fileobj)
                else:
                    progress(sum(each.read for each in newest))
    return newest


def _start(module: str, work: Work) -> subprocess.Popen[bytes]:
    Path(work.folder).mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,  # or a line may wait in a buffer that the selector does not see
    )
    with cast("IO[bytes]", process.stdin) as words:
        words.write(msgspec.json.encode(work))
    return process


def _report(line: bytes) -> Report:
    if not line:
        raise PairstreamError("a process of the rebuild ended without its result: see above")
    report = msgspec.json.decode(line, type=Report)
    if report.error is not None:
        raise PairstreamError(report.error)
    return report


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()  # it has nothing to save
    process.wait()
    cast("IO[bytes]", process.stdout).close()
