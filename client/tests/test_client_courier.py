"""What stands in a spool is sent in its order until it is settled, and deleted only then."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from spool_support import TOO_LARGE, UNAVAILABLE, Agent, event

from pairstream_client import Stats
from pairstream_client import courier as courier_module
from pairstream_client import spool as spool_module
from pairstream_client.dead_spools import spools_in
from pairstream_client.errors import Refused
from pairstream_client.sender import Failure
from pairstream_client.spool_folders import REFUSED, folders_in
from pairstream_client.spool_lines import to_line


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "RETRY_SECONDS", 0)


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two events each."""
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 1 + len(to_line(event("1"))))


def test_events_are_on_disk_before_they_are_sent_and_until_they_are_acknowledged(
    tmp_path: Path,
) -> None:
    agent = Agent(tmp_path)
    agent.record("1", "2")
    size = len(to_line(event("1")))

    assert (agent.kept_bytes, agent.broker.names) == (2 * size, [])
    assert agent.turn() == ["1", "2"]
    assert agent.kept_bytes == 2 * size
    agent.broker.answer()
    agent.turn()
    assert agent.kept_bytes == 0
    assert agent.stats == Stats(acknowledged=2)


def test_a_process_that_has_nothing_left_leaves_nothing(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.record("1")
    agent.turn()
    agent.broker.answer()

    assert agent.courier.close() == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_segments")
def test_segments_are_deleted_each_when_all_of_it_is_acknowledged(tmp_path: Path) -> None:
    agent = Agent(tmp_path, most=3)
    agent.record("1", "2", "3", "4", "5")
    (folder,) = folders_in(tmp_path)

    assert agent.turn() == ["1", "2", "3"]
    assert len(list(folder.glob("*.jsonl"))) == 3
    agent.broker.answer()
    assert agent.turn() == ["4", "5"]
    assert [file.name for file in sorted(folder.glob("*.jsonl"))] == [
        "00000002.jsonl",
        "00000003.jsonl",
    ]
    agent.broker.answer()
    agent.turn()
    assert agent.kept_bytes == 0


def test_events_wait_in_the_spool_while_the_queue_is_full(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.broker.room = 2
    agent.record(*"12345")

    assert agent.turn() == ["1", "2"]
    agent.broker.answer()
    assert agent.turn() == ["3", "4"]
    agent.broker.answer()
    assert agent.turn() == ["5"]
    agent.broker.answer()
    assert agent.broker.acknowledged == list("12345")


@pytest.mark.usefixtures("no_pause")
def test_what_failed_is_sent_again_in_its_order_one_at_first(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.record(*"123")
    agent.turn()
    agent.broker.answer(lambda _: UNAVAILABLE)
    agent.record("4")

    rounds = []
    while agent.stats.queued:
        rounds.append(agent.turn())
        agent.broker.answer()

    assert rounds == [["1"], ["2", "3"], ["4"]]
    assert agent.stats == Stats(acknowledged=4)


def test_after_a_failure_there_is_a_pause(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.record("1")
    agent.turn()
    agent.broker.answer(lambda _: UNAVAILABLE)

    assert agent.turn() == []
    assert agent.stats == Stats(queued=1)


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("place", [0, 1, 4])
def test_of_a_batch_that_is_refused_only_the_event_at_fault_is_moved_aside(
    place: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent(tmp_path)
    names = list("12345")
    large = names[place]
    agent.record(*names)

    def refuse_batch(_: str) -> Failure | None:
        return TOO_LARGE if large in batch else None

    while agent.stats.queued:
        batch = agent.turn()
        agent.broker.answer(refuse_batch)

    assert agent.broker.acknowledged == [name for name in names if name != large]
    assert agent.stats == Stats(acknowledged=4, dropped=1)
    (line,) = (tmp_path / REFUSED).read_bytes().splitlines(keepends=True)
    assert line == to_line(event(large))
    assert "Message size too large; it is kept in refused.jsonl" in caplog.text


def test_an_event_that_the_queue_never_takes_is_moved_aside(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.broker.too_large_at_once = "2"
    agent.record(*"123")

    assert agent.turn() == ["1", "3"]
    agent.broker.answer()

    assert agent.stats == Stats(acknowledged=2, dropped=1)
    assert json.loads((tmp_path / REFUSED).read_bytes())["key"] == "2"
    agent.turn()
    assert agent.kept_bytes == 0


def test_refused_events_are_kept_up_to_the_bound_and_counted_beyond(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent(tmp_path, max_bytes=len(to_line(event("1"))))
    agent.broker.too_large_at_once = "1"
    for _ in range(2):
        agent.record("1")
        agent.turn()
        agent.turn()

    assert agent.stats == Stats(dropped=2)
    assert (tmp_path / REFUSED).read_bytes() == to_line(event("1"))
    assert "it could not be kept" in caplog.text


def test_a_full_spool_refuses_until_there_is_room(tmp_path: Path) -> None:
    agent = Agent(tmp_path, max_bytes=2 * len(to_line(event("1"))))
    agent.record(*"12")
    with pytest.raises(Refused, match="the spool is full"):
        agent.record("3")
    agent.turn()
    agent.broker.answer()
    agent.turn()
    agent.record("4")

    assert agent.turn() == ["4"]


def test_what_processes_that_ended_have_left_counts_towards_the_bound(tmp_path: Path) -> None:
    bound = 2 * len(to_line(event("1")))
    earlier = Agent(tmp_path, max_bytes=bound)
    earlier.record("1")
    earlier.courier.close()
    agent = Agent(tmp_path, max_bytes=bound)
    agent.record("2")

    with pytest.raises(Refused, match="the spool is full"):
        agent.record("3")
    agent.turn()
    agent.broker.answer()
    agent.turn()
    agent.record("3", "4")


def _leave(root: Path, *names: str) -> None:
    agent = Agent(root)
    agent.record(*names)
    agent.courier.close()


def test_the_next_process_sends_what_earlier_ones_left_and_tidies_up(tmp_path: Path) -> None:
    _leave(tmp_path, "1", "2")
    _leave(tmp_path, "3")
    agent = Agent(tmp_path)

    while agent.courier.has_leftovers:
        agent.turn()
        agent.broker.answer()

    assert sorted(agent.broker.acknowledged) == ["1", "2", "3"]
    assert agent.stats == Stats(adopted=3)
    assert list(tmp_path.iterdir()) == []


def test_own_events_go_before_what_others_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier_module, "LEFTOVERS_UNDER_WAY", 2)
    _leave(tmp_path, "1", "2", "3")
    agent = Agent(tmp_path)
    agent.record("new")

    assert agent.turn() == ["new", "1"]
    agent.record("newer")
    assert agent.turn() == ["new", "1", "newer"]


def test_a_living_process_s_spool_is_left_alone(tmp_path: Path) -> None:
    living = Agent(tmp_path)
    living.record("1")
    agent = Agent(tmp_path)

    assert not agent.courier.has_leftovers
    assert agent.turn() == []
    assert living.turn() == ["1"]


def test_of_two_that_found_the_same_leftovers_one_sends_them(tmp_path: Path) -> None:
    _leave(tmp_path, "1", "2")
    agents = [Agent(tmp_path), Agent(tmp_path)]

    sent = [agent.turn() for agent in agents]
    assert sent == [["1", "2"], []]
    assert not agents[1].courier.has_leftovers


def test_who_sends_what_another_one_left_can_be_told(tmp_path: Path) -> None:
    _leave(tmp_path, "1")
    agent = Agent(tmp_path)
    (before,) = spools_in(tmp_path)
    agent.turn()
    (during,) = spools_in(tmp_path)

    assert (before.held_by, during.held_by) == (None, os.getpid())


def test_what_is_not_acknowledged_in_time_is_left_to_the_next(tmp_path: Path) -> None:
    _leave(tmp_path, "1", "2")
    second = Agent(tmp_path)
    second.turn()
    second.courier.close()
    third = Agent(tmp_path)

    assert third.turn() == ["1", "2"]


def _tear(content: bytes) -> bytes:
    return content[:-10]


def _damage(content: bytes) -> bytes:
    return content.replace(b'"event_id":"2"', b'"event_id":"?"')


@pytest.mark.parametrize(
    ("change", "read", "aside"),
    [(_tear, ["1", "2"], False), (_damage, ["1", "3"], True)],
    ids=["torn", "damaged"],
)
def test_lines_that_are_not_whole_cost_no_other_line(
    change: Callable[[bytes], bytes], read: list[str], aside: bool, tmp_path: Path
) -> None:
    _leave(tmp_path, *"123")
    (file,) = tmp_path.glob("*/*.jsonl")
    file.write_bytes(change(file.read_bytes()))
    agent = Agent(tmp_path)

    agent.turn()
    agent.broker.answer()
    agent.turn()

    assert agent.broker.acknowledged == read
    assert (tmp_path / REFUSED).exists() == aside
    assert agent.stats == Stats(adopted=2, dropped=int(aside))
    assert folders_in(tmp_path) == []
