"""What a worker that stands still is waiting for: written to standard error on SIGUSR1."""

import asyncio
import faulthandler
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

END = "end of the stacks"


def install(loop: asyncio.AbstractEventLoop, others: Callable[[], Iterable[Any]]) -> None:
    """For the tasks of this loop and of `others`, which run in other threads, and for all threads.

    A task's lines lead from its begin to what it awaits.
    """
    loop.add_signal_handler(signal.SIGUSR1, lambda: _write([loop, *others()]))


def _write(loops: Iterable[asyncio.AbstractEventLoop]) -> None:
    for loop in loops:
        for task in asyncio.all_tasks(loop):
            sys.stderr.write(f"{task.get_name()}:\n")
            sys.stderr.writelines(f"  {line}\n" for line in _waits_of(task.get_coro()))
    sys.stderr.flush()
    faulthandler.dump_traceback(sys.stderr, all_threads=True)
    sys.stderr.write(f"{END}\n")
    sys.stderr.flush()


def _waits_of(awaited: Any) -> Iterator[str]:
    """From a coroutine to what it waits for in the end."""
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is None:
            yield repr(awaited)
            return
        yield f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
