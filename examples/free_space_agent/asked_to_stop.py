"""SIGTERM and Ctrl-C as a question to be asked, so that a run is never cut off in the middle."""

import os
import select
import signal


class AskedToStop:
    """True once a signal has come; `pause` ends early when one comes."""

    def __init__(self) -> None:
        self._asked = False
        self._wake, self._waker = os.pipe()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def __call__(self) -> bool:
        return self._asked

    def pause(self, seconds: float) -> None:
        select.select([self._wake], [], [], seconds)

    def _ask(self, *_: object) -> None:
        self._asked = True
        os.write(self._waker, b"\0")
