"""Keeping a long-lived process as small as what it holds (glibc; elsewhere nothing is done).

glibc gives each thread that allocates an arena of its own, and an arena shrinks only at its end; so
does it with large blocks, once one as large was freed. A worker that reads its state anew after
each rebalance would keep the largest buffers that it ever had, in each of its threads.
"""

import asyncio
import ctypes
import resource
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8

_ARENAS = 2
# Blocks that are larger, and what is free beyond it at an arena's end, go back to the system at
# once: glibc would raise both. Lower, a worker would get the memory of each batch anew, page by
# page (a tenth of its work at 256 KiB and 4 MiB).
_LARGE_BYTES = 8 * 1024 * 1024
_FREE_AT_THE_END_BYTES = 32 * 1024 * 1024
_LOOK_SECONDS = 5.0
# Giving back takes some milliseconds.
_WORTH_BYTES = 4 * 1024 * 1024

_libc = ctypes.CDLL(None)


def keep_small() -> None:
    """At the start of a process, before its threads, those of Kafka's clients among them."""
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, _ARENAS)
        _libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        _libc.mallopt(_M_TRIM_THRESHOLD, _FREE_AT_THE_END_BYTES)


def release_memory() -> None:
    """Give back what is free."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)


async def keep_releasing_memory() -> None:
    """Whenever the process has grown: librdkafka frees its buffers when it comes to it."""
    kept = 0
    while hasattr(_libc, "malloc_trim"):
        await asyncio.sleep(_LOOK_SECONDS)
        if _resident_bytes() - kept > _WORTH_BYTES:
            await asyncio.to_thread(release_memory)
            kept = _resident_bytes()


def _resident_bytes() -> int:
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * resource.getpagesize()
