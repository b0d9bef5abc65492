"""Which fetched records are handed over: none twice in a row, none after a gap that is no hole."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from streams.transport import BatchConsumer

PLACE = TP("events", 0)
GENERATION = 7


class Consumer(BatchConsumer):
    """The part that hands records over, without a broker."""

    def __init__(self, read: int | None) -> None:
        self._read_offset = defaultdict(lambda: None, {PLACE: read})
        self._handed_over = defaultdict(deque)
        self._doubted = {}
        self._is_positioned = True
        self.flow_active = True
        self.given: list[int] = []
        self.sought: list[int] = []

    app: Any = SimpleNamespace(consumer_generation_id=GENERATION)

    async def callback(self, message: Any) -> None:  # type: ignore[override]
        self.given += [record.offset for record in message.value]

    async def _seek(self, partition: TP, offset: int) -> None:
        self.sought.append(offset)

    def hand_over(self, offsets: Sequence[int], generation: int = GENERATION) -> bool:
        records = [
            SimpleNamespace(offset=offset, topic=PLACE.topic, partition=0, timestamp=0)
            for offset in offsets
        ]
        return asyncio.run(self._hand_over(PLACE, records, generation))


def test_records_that_follow_are_given_and_those_read_before_are_not() -> None:
    consumer = Consumer(read=10)

    assert consumer.hand_over([8, 9, 10, 11])
    assert consumer.hand_over([11, 12])

    assert consumer.given == [10, 11, 12]
    assert consumer.sought == []


def test_gap_is_looked_at_again_and_what_was_missed_comes_first() -> None:
    consumer = Consumer(read=10)

    assert consumer.hand_over([15, 16])
    assert (consumer.given, consumer.sought) == ([], [10])
    assert consumer.hand_over([10, 11, 12, 13, 14, 15, 16])

    assert consumer.given == [10, 11, 12, 13, 14, 15, 16]


def test_gap_that_is_still_there_is_a_hole_in_the_log() -> None:
    consumer = Consumer(read=None)

    assert consumer.hand_over([5, 6])
    assert consumer.hand_over([5, 6])
    assert consumer.hand_over([9])
    assert consumer.hand_over([9])

    assert consumer.given == [5, 6, 9]
    assert consumer.sought == [0, 7]


def test_nothing_is_given_while_positions_are_not_set_or_by_an_old_generation() -> None:
    consumer = Consumer(read=10)

    assert not consumer.hand_over([10], generation=GENERATION - 1)
    consumer._is_positioned = False
    assert not consumer.hand_over([10])

    assert consumer.given == []
    assert consumer._read_offset[PLACE] == 10
