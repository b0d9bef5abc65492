"""One process at a time does one training."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.launcher import EngineUnavailable, Plan


@contextmanager
def alone(plan: Plan) -> Iterator[None]:
    """A trainer and a `pairstream train` may be asked for the same training; one does it.

    Raises: EngineUnavailable while another process does it.
    """
    handle = os.open(plan.folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EngineUnavailable(f"another process does {plan.training_id} already") from error
        yield
    finally:
        os.close(handle)
