"""Named places at which a test can kill the process, to show that the next start repairs all.

Set PAIRSTREAM_CRASH_POINT to a name, or to `name:3` for its third passing. Costs one comparison
when off.
"""

import os
import signal
import sys

VARIABLE = "PAIRSTREAM_CRASH_POINT"

_wanted, _, _count = os.environ.get(VARIABLE, "").partition(":")
_passings_left = int(_count or 1)


def crash_point(name: str) -> None:
    """Die here, as by SIGKILL, when the environment names this place."""
    if name == _wanted:
        _pass()


def _pass() -> None:
    global _passings_left
    _passings_left -= 1
    if _passings_left == 0:
        sys.stderr.write(f"killed at {_wanted}\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
