"""Where reading begins: aiokafka asks a node for it that does not lead the partition any more."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.errors import KafkaConnectionError, KafkaError, NotLeaderForPartitionError
from aiokafka.protocol.offset import OffsetResponse_v1
from aiokafka.structs import TopicPartition

from streams import aiokafka_cures
from tests.faust.memory import OURS, STOCK, in_loop

PLACE = TopicPartition("changelog", 0)
EARLIEST = -2


class Positions:
    """A fetcher that knows one node, and what a newer look at the cluster would tell."""

    def __init__(self, kind: str, error: type[KafkaError]) -> None:
        self._error = error
        self.leader_known = False
        self._client = SimpleNamespace(send=self._send, force_metadata_update=self._look_again)
        ask = aiokafka_cures.stock_offsets if kind == STOCK else Fetcher._proc_offset_request
        self._proc_offset_request = partial(ask, self)
        self._isolation_level = 0
        self._retry_backoff = 0.0
        self._default_reset_strategy = EARLIEST
        self._subscriptions = SimpleNamespace(fetch_context=lambda _: None)
        self.assignment = Assignment({PLACE})
        self.assignment.state_value(PLACE).await_reset(EARLIEST)

    async def _send(self, *_: Any) -> Any:
        if self.leader_known:
            return OffsetResponse_v1([("changelog", [(0, 0, -1, 7)])])
        if self._error is NotLeaderForPartitionError:
            return OffsetResponse_v1([("changelog", [(0, self._error.errno, -1, -1)])])
        raise self._error

    def _look_again(self) -> None:
        self.leader_known = True

    async def ask(self) -> None:
        await Fetcher._update_fetch_positions(self, self.assignment, 1, [PLACE])


@pytest.mark.parametrize("error", [NotLeaderForPartitionError, KafkaConnectionError])
@in_loop
async def test_who_leads_is_looked_up_when_a_position_is_asked_for_in_vain(
    error: type[KafkaError],
) -> None:
    stock = Positions(STOCK, error)
    for _ in range(3):
        await stock.ask()
    assert not stock.leader_known

    ours = Positions(OURS, error)
    for _ in range(2):
        await ours.ask()
    assert ours.assignment.state_value(PLACE).position == 7
