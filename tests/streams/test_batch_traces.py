"""Traces of batches, in the order in which a worker can tell of them."""

from types import SimpleNamespace
from typing import Any

from faust.types import TP

from schemas.topics import PAIRS, RUN_EVENTS, Names
from schemas.traces import Attributes, Kind
from streams.batch_traces import REVOKED, BatchTraces
from streams.producer import Record

NAMES = Names("t.")
TOPIC = NAMES.topic(RUN_EVENTS)
ROW = Record(NAMES.topic(PAIRS), b"r", b"{}")
STATE = Record(NAMES.state_changelog, b"r", b"", 0)


class Told:
    """A trace that keeps what it is told; itself what begins it."""

    def __init__(self, *, sampled: bool = True) -> None:
        self.sampled = sampled
        self.begun: list[str] = []
        self.parts: list[tuple[str, dict[str, Any]]] = []
        self.ended: list[str | None] = []

    def __call__(
        self, name: str, begun_ns: int, attributes: Attributes, *, kind: Kind = "internal"
    ) -> "Told | None":
        self.begun.append(name)
        return self if self.sampled else None

    def part(
        self,
        name: str,
        begun_ns: int,
        ended_ns: int,
        attributes: Attributes,
        *,
        kind: Kind = "internal",
    ) -> None:
        assert begun_ns <= ended_ns
        self.parts.append((name, dict(attributes)))

    def end(self, ended_ns: int, attributes: Attributes, *, error: str | None = None) -> None:
        self.ended.append(error)


def batch(first: int, last: int, *, partition: int = 0, generation: int = 1) -> Any:
    message = SimpleNamespace(
        topic=TOPIC,
        partition=partition,
        tp=TP(TOPIC, partition),
        offset=last,
        generation_id=generation,
    )
    value = [SimpleNamespace(offset=offset) for offset in range(first, last + 1)]
    return SimpleNamespace(message=message, value=value)


def test_a_commit_ends_every_batch_that_it_covers_and_no_other() -> None:
    told = Told()
    traces = BatchTraces(told, NAMES)
    batches = [batch(0, 4), batch(5, 9), batch(0, 3, partition=1)]
    for each in batches:
        traces.worked(each, 0, "fold", [], [STATE])
        traces.state_acknowledged(each)

    traces.committed({TP(TOPIC, 0): 5}, 0)
    assert told.ended == [None]
    traces.committed({TP(TOPIC, 0): 10, TP(TOPIC, 1): 3}, 0)
    assert told.ended == [None, None]
    traces.committed({TP(TOPIC, 1): 4}, 0)
    assert told.ended == [None, None, None]
    offsets = [about["messaging.kafka.offset"] for name, about in told.parts if "commit" in name]
    assert offsets == [5, 10, 4]


def test_state_of_the_next_batch_may_be_acknowledged_before_rows_of_this_one() -> None:
    told = Told()
    traces = BatchTraces(told, NAMES)
    first, second = batch(0, 0), batch(0, 0, partition=1)
    traces.worked(first, 0, "fold", [ROW, ROW], [])
    traces.worked(second, 0, "fold", [], [STATE])
    traces.state_acknowledged(second)
    traces.rows_acknowledged(first)
    traces.state_acknowledged(first)
    traces.committed({TP(TOPIC, 1): 1, TP(TOPIC, 0): 1}, 0)

    assert [name for name, _ in told.parts] == [
        "fold", "fold", f"send {NAMES.state_changelog}", "send rows",
        f"commit {TOPIC}", f"commit {TOPIC}",
    ]  # fmt: skip
    assert told.parts[0][1] == {"pairstream.pairs": 2}


def test_batches_of_an_earlier_generation_end_as_taken_away() -> None:
    told = Told()
    traces = BatchTraces(told, NAMES)
    traces.worked(batch(0, 4), 0, "fold", [ROW], [STATE])
    again = batch(0, 4, generation=2)
    traces.worked(again, 0, "fold", [ROW], [STATE])
    assert told.ended == [REVOKED]

    traces.committed({TP(TOPIC, 0): 5}, 0)
    assert told.ended == [REVOKED, None]


def test_what_is_not_sampled_is_not_kept() -> None:
    for begin in (None, Told(sampled=False)):
        traces = BatchTraces(begin, NAMES)
        traces.worked(batch(0, 4), 0, "fold", [ROW], [STATE])
        traces.rows_acknowledged(batch(0, 4))
        traces.state_acknowledged(batch(0, 4))
        traces.committed({TP(TOPIC, 0): 5}, 0)

        assert begin is None or begin.parts == []
