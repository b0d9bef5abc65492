"""What aiokafka fetches after a rebalance: Faust has the changelog assigned to it, too."""

from types import SimpleNamespace
from typing import Any

from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.structs import TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from streams.transport import _PatientThread
from tests.faust.memory import OURS, STOCK, in_loop

EVENTS, CHANGELOG = TopicPartition("events", 0), TopicPartition("runs-changelog", 0)
KINDS: dict[str, type[AIOKafkaConsumerThread]] = {
    STOCK: AIOKafkaConsumerThread,
    OURS: _PatientThread,
}


async def paused_when_told(kind: str) -> set[TopicPartition]:
    """The partitions that are paused when Faust hears of its assignment, before it can seek."""
    state = SubscriptionState()
    state.subscribe({EVENTS.topic, CHANGELOG.topic})
    state.assign_from_subscribed([EVENTS, CHANGELOG])
    told: list[set[TopicPartition]] = []

    async def tell(*_: Any) -> None:
        told.append(state.paused_partitions())

    thread: Any = object.__new__(KINDS[kind])
    thread._consumer = SimpleNamespace(
        assignment=state.assigned_partitions,
        pause=lambda *places: [state.pause(place) for place in places],
    )
    thread.app = SimpleNamespace(tables=SimpleNamespace(changelog_topics={CHANGELOG.topic}))
    thread.consumer = SimpleNamespace(threadsafe_partitions_assigned=tell)
    thread.thread_loop = None
    await thread.on_partitions_assigned({EVENTS, CHANGELOG}, 1)
    [paused] = told
    return paused


@in_loop
async def test_the_changelog_is_not_fetched_into_buffers_that_nobody_empties() -> None:
    assert await paused_when_told(STOCK) == set()
    assert await paused_when_told(OURS) == {CHANGELOG}
