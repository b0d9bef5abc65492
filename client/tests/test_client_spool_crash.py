"""Agents that are killed at any moment: what was recorded is in the topic after the next start."""

import json
import time
from pathlib import Path

import pytest
from client_support import NO_BROKER, PROMPTS, EventsTopic
from spool_support import PROCESS_SECONDS, record_until_killed

from pairstream_client import Publisher, RunRecorder
from pairstream_client.spool_folders import REFUSED, folders_in

# What is struck: a function of the client, before or after its call of that number.
MOMENTS = [
    ("spool_folders", "make", 1),
    ("spool_segments.FileSegment", "append", 1),
    ("spool_segments.FileSegment", "append", 40),
    ("spool_segments.FileSegment", "shut", 2),
    ("spool_shelf.Shelf", "take", 30),
    ("sender.Sender", "send", 30),
]
MOMENTS_WITH_BROKER = [
    *MOMENTS,
    ("tally.Tally", "acknowledged", 20),
    ("spool_segments.FileSegment", "delete", 1),
    ("spool_segments.FileSegment", "delete", 2),
    ("spool_segments.FileSegment", "clear", 3),
]


def _start_again(topic: EventsTopic, spool: Path) -> None:
    """A new process's publisher, until nothing is left of the old one's spool."""
    publisher = Publisher(topic.servers, topic.prefix, spool=spool)
    RunRecorder(PROMPTS, run_id="next", publisher=publisher).finish()
    deadline = time.monotonic() + PROCESS_SECONDS
    while len(folders_in(spool)) > 1:
        assert time.monotonic() < deadline, publisher.stats
        time.sleep(0.01)
    assert publisher.close(PROCESS_SECONDS) == 0
    assert folders_in(spool) == []
    assert not (spool / REFUSED).exists()


def _attempts(topic: EventsTopic) -> set[int]:
    values = [json.loads(record.value()) for record in topic.read()]
    return {value["attempt"] for value in values if value["type"] == "code.attempted"}


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize(("place", "name", "call"), MOMENTS_WITH_BROKER)
def test_an_agent_killed_at_any_step_loses_nothing_that_it_recorded(
    place: str, name: str, call: int, side: str, events_topic: EventsTopic, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    recorded = record_until_killed(
        spool, events_topic.servers, events_topic.prefix, strike=(place, name, call, side)
    )
    _start_again(events_topic, spool)

    assert set(recorded) <= _attempts(events_topic)


@pytest.mark.parametrize(("place", "name", "call"), MOMENTS)
def test_an_agent_without_a_broker_that_is_killed_loses_nothing_that_it_recorded(
    place: str, name: str, call: int, events_topic: EventsTopic, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    recorded = record_until_killed(
        spool, NO_BROKER, events_topic.prefix, strike=(place, name, call, "after")
    )
    _start_again(events_topic, spool)

    assert set(recorded) <= _attempts(events_topic)


@pytest.mark.parametrize("count", [1, 17, 400])
def test_an_agent_killed_from_outside_loses_nothing_that_it_recorded(
    count: int, events_topic: EventsTopic, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    recorded = record_until_killed(
        spool, events_topic.servers, events_topic.prefix, kill_after=count
    )
    _start_again(events_topic, spool)

    assert len(recorded) >= count
    assert set(recorded) <= _attempts(events_topic)


def test_an_agent_killed_in_the_middle_of_a_write_loses_that_event_alone(
    events_topic: EventsTopic, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    recorded = record_until_killed(spool, NO_BROKER, events_topic.prefix, tear=25)
    (file, *_) = sorted(spool.glob("*/*.jsonl"), reverse=True)
    assert not file.read_bytes().endswith(b"\n")
    _start_again(events_topic, spool)

    assert recorded == list(range(1, 23))
    assert _attempts(events_topic) == set(recorded)


def test_processes_killed_one_after_another_leave_nothing_behind(
    events_topic: EventsTopic, tmp_path: Path
) -> None:
    """Each adopts what was left before it, and is killed at that."""
    spool = tmp_path / "spool"
    recorded = record_until_killed(spool, NO_BROKER, events_topic.prefix, kill_after=50)
    for strike in [
        ("leftovers.Leftovers", "_claim", 1, "after"),
        ("spool_shelf.Shelf", "take", 20, "before"),
        ("spool_segments.FileSegment", "delete", 1, "after"),
        ("spool_folders.Folder", "remove", 1, "before"),
    ]:
        record_until_killed(spool, events_topic.servers, events_topic.prefix, strike=strike)
    _start_again(events_topic, spool)

    assert set(recorded) <= _attempts(events_topic)
