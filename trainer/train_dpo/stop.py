"""SIGTERM."""

from __future__ import annotations

import signal
import sys

from .refusals import STOPPED


class Stop:
    """SIGTERM: during training it waits for the step and its checkpoint, else it ends at once."""

    def __init__(self) -> None:
        self.asked = False
        self.training = False
        signal.signal(signal.SIGTERM, self._take)

    def _take(self, *_: object) -> None:
        self.asked = True
        if not self.training:
            sys.exit(STOPPED)
