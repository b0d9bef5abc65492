"""Two defects of aiokafka 0.14 that would lose work or stand still, mended where they are."""

from typing import Any

from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.commit import OffsetFetchResponse_v3

stock_request = GroupCoordinator._send_req
stock_offsets = Fetcher._proc_offset_request

# The coordinator has moved or is not ready.
_LOST_COORDINATOR = (15, 16)


def install() -> None:
    """For every consumer of this process."""
    GroupCoordinator._send_req = _checked_request
    Fetcher._proc_offset_request = _offsets_of_leaders


async def _checked_request(coordinator: Any, request: Any) -> Any:
    """Version 3 of the answer has an error of its own, which is overlooked: a coordinator that is
    moving would look like a group without commits.
    """
    response = await stock_request(coordinator, request)
    code = response.error_code if isinstance(response, OffsetFetchResponse_v3) else 0
    if code in _LOST_COORDINATOR:
        coordinator.coordinator_dead()
    if code:
        raise for_code(code)()
    return response


async def _offsets_of_leaders(fetcher: Any, node_id: int, topics: Any) -> Any:
    """Who was asked in vain for a position is asked again, though it leads no more: until the
    metadata's five minutes are over, nothing else is fetched from it.
    """
    try:
        return await stock_offsets(fetcher, node_id, topics)
    except KafkaError:
        fetcher._client.force_metadata_update()
        raise
