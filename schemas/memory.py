"""Keeping a long-lived process as small as what it holds (glibc; elsewhere nothing is done).

glibc gives each thread that allocates an arena of its own, and an arena shrinks only at its end: a
worker that reads its state in another thread after each rebalance would grow with each.
"""

import ctypes

_M_ARENA_MAX = -8
_ARENAS = 2

_libc = ctypes.CDLL(None)


def share_arenas() -> None:
    """At the start of a process, before its threads."""
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, _ARENAS)


def release_memory() -> None:
    """Give back what is free, after something large is gone."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
