"""Waits for what is to come, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LIMIT_SECONDS = 60.0


def wait_for(look: Callable[[], T | None], told: Callable[[], str] = lambda: "waited in vain") -> T:
    """What a look gives, once it is true.

    Raises: AssertionError, with what is `told` then, when that does not come within a minute.
    """
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)
    return found
