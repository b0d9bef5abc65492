"""Says through `logging` what went wrong, without filling the log."""

import logging
import time
from collections.abc import Callable

from pairstream_client.process_lock import process_lock

SILENCE_SECONDS = 60.0

NAME = "pairstream_client"

logger = logging.getLogger(NAME)


class Complaints:
    """Each kind is said when it first occurs, and after that at most once in SILENCE_SECONDS."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def say(self, kind: str, text: str) -> None:
        """Neither may quote an agent's text; `kind` is one of a bounded number."""
        with process_lock:
            now = self._clock()
            if now - self._said.get(kind, -SILENCE_SECONDS) < SILENCE_SECONDS:
                self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
                return
            self._said[kind] = now
            unsaid = self._unsaid.pop(kind, 0)
        more = f" ({unsaid} times more since it was said)" if unsaid else ""
        # An agent that sets no logging up sees the bare message: it must say whose it is.
        logger.warning("%s: %s%s", NAME, text, more)
