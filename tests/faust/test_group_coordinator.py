"""What the group has committed: aiokafka takes an error of the coordinator for nothing."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
)
from aiokafka.protocol.commit import OffsetFetchResponse_v3
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streams import aiokafka_cures
from tests.faust.memory import OURS, STOCK, in_loop

PLACE = TopicPartition("events", 0)


class Coordinator:
    """Answers with `error_code`, and with a commit when there is none."""

    group_id = "group"
    coordinator_id = 1

    def __init__(self, kind: str, error_code: int) -> None:
        answers = [("events", [(0, 7, "", 0)])] if not error_code else []
        self._answer = OffsetFetchResponse_v3(0, answers, error_code)
        send = aiokafka_cures.stock_request if kind == STOCK else GroupCoordinator._send_req
        self._send_req = partial(send, self)
        self._client = SimpleNamespace(send=self._send)
        self.is_given_up = False

    async def _send(self, *_: Any, **__: Any) -> Any:
        return self._answer

    def coordinator_dead(self) -> None:
        self.is_given_up = True

    async def committed(self) -> Any:
        return await GroupCoordinator._do_fetch_commit_offsets(self, [PLACE])


@pytest.mark.parametrize(
    ("error", "is_retried", "is_given_up"),
    [
        (GroupLoadInProgressError, True, False),
        (GroupCoordinatorNotAvailableError, True, True),
        (NotCoordinatorForGroupError, True, True),
        (GroupAuthorizationFailedError, False, False),
    ],
)
@in_loop
async def test_coordinator_that_does_not_know_is_not_taken_for_a_group_without_commits(
    error: type[KafkaError], is_retried: bool, is_given_up: bool
) -> None:
    assert await Coordinator(STOCK, error.errno).committed() == {}

    coordinator = Coordinator(OURS, error.errno)
    with pytest.raises(error):
        await coordinator.committed()
    assert (error.retriable, coordinator.is_given_up) == (is_retried, is_given_up)


@pytest.mark.parametrize("kind", [STOCK, OURS])
@in_loop
async def test_coordinator_that_knows_is_believed(kind: str) -> None:
    assert await Coordinator(kind, 0).committed() == {PLACE: OffsetAndMetadata(7, "")}
