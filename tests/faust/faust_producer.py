"""In the place of Faust's own producer, where a stock agent writes rows."""

import asyncio
from typing import Any

from tests.faust.memory import World


class FaustProducer:
    """Faust's own, as its topics use it: keeps what is sent, or fails with `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.sent: list[bytes] = []
        self.transactions: list[str | None] = []

    async def send(
        self, topic: str, key: Any, value: bytes, *_: Any, **more: Any
    ) -> asyncio.Future[Any]:
        self.transactions.append(more.get("transactional_id"))
        sent: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._error:
            sent.set_exception(self._error)
        else:
            self.sent.append(value)
            sent.set_result(None)
        return sent


def writes_with(world: World, producer: FaustProducer | None) -> Any:
    """A topic for rows; without a producer no broker ever answers."""

    async def started_producer() -> FaustProducer:
        return producer or await asyncio.get_running_loop().create_future()

    world.app.maybe_start_producer = started_producer
    return world.app.topic("rows", key_type=bytes, value_type=bytes)
