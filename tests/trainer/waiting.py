"""Waits for conditions, never for a time."""

import time
from collections.abc import Callable

LIMIT_SECONDS = 60.0


def wait_for(condition: Callable[[], bool]) -> None:
    """Raises: AssertionError when it does not come true within a minute."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
