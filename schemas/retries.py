"""Asking brokers that cannot tell yet."""

import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

from schemas.clients import waiting_cures
from schemas.errors import PairstreamError

T = TypeVar("T")

PAUSE_SECONDS = 0.1
RETRY_SECONDS = 10.0


def retried(ask: Callable[[], T], *, failure: str, seconds: float = RETRY_SECONDS) -> T:
    """Ask again while waiting may help, such as of a topic that was made just now. Blocking.

    Raises: PairstreamError that begins with `failure`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if not waiting_cures(reason) or time.monotonic() > deadline:
                raise PairstreamError(f"{failure}: {reason.str()}; try again") from error
        time.sleep(PAUSE_SECONDS)
