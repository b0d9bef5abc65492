"""One process at a time does one training."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from trainer.launcher import EngineUnavailable, Plan
from trainer.layout import folder_lock


@contextmanager
def alone(plan: Plan) -> Iterator[None]:
    """A trainer and a `pairstream train` may be asked for the same training; one does it.

    Raises: EngineUnavailable while another process does it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(folder_lock(plan.folder, wait=False))
        except BlockingIOError as error:
            raise EngineUnavailable(f"another process does {plan.training_id} already") from error
        yield
