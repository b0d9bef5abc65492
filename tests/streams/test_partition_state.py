"""The partition's memory: silence, forgetting, and taking over from a predecessor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.partition import Partition
from streams.runs import DIGEST_BYTES
from streams.state import Marker, event_key, marker_key, split_key
from tests.streams.histories import (
    IDLE,
    MODEST,
    JsonEvent,
    attempted,
    expired,
    finished,
    proposed,
    started,
    to_log,
)


class Worker:
    """A partition with its log and the state that it has written."""

    def __init__(self) -> None:
        self.runs = Partition(extended=False)
        self.state: dict[bytes, tuple[bytes, int]] = {}
        self._seen: list[JsonEvent] = []

    def take(self, *events: JsonEvent, at: int) -> None:
        place = len(self._seen)
        self._seen += events
        records = [record.parts for record in to_log(self._seen)[place:]]
        for key, value in self.runs.apply(records, now_ms=at).writes.items():
            self.state.pop(key, None)
            if value is not None:
                self.state[key] = (value, at)

    def restart(self) -> dict[bytes, bytes | None]:
        """What the successor removes of the state that it finds."""
        self.runs = Partition(extended=False)
        return self.runs.restore((key, value, at) for key, (value, at) in self.state.items())


@pytest.fixture(params=["the same worker", "after a restart"])
def restarts(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "after a restart")


def test_silent_runs_are_those_not_seen_since(restarts: bool) -> None:
    worker = Worker()
    worker.take(started("r-1"), started("r-2"), proposed(run_id="r-2"), at=100)
    worker.take(started("r-3"), proposed(run_id="r-1"), at=200)
    if restarts:
        worker.restart()

    assert worker.runs.silent(99) == []
    assert worker.runs.silent(100) == [("r-2", 2)]
    assert dict(worker.runs.silent(200)) == {"r-1": 2, "r-3": 1}


def test_each_silence_is_told_once() -> None:
    worker = Worker()
    worker.take(started(), at=100)

    assert worker.runs.silent(100) == [("r-1", 1)]
    assert worker.runs.silent(500) == []

    worker.take(proposed(), at=600)
    assert worker.runs.silent(599) == []
    assert worker.runs.silent(600) == [("r-1", 2)]


def test_successor_asks_again() -> None:
    worker = Worker()
    worker.take(started(), at=100)
    worker.runs.silent(100)
    worker.restart()

    assert worker.runs.silent(100) == [("r-1", 1)]


@pytest.mark.parametrize(
    "event", [started(), attempted(1, "other", IDLE)], ids=["duplicate", "conflict"]
)
def test_whatever_arrives_is_a_sign_of_life(event: JsonEvent) -> None:
    worker = Worker()
    worker.take(started(), attempted(1, "a", IDLE), at=100)
    worker.take(event, at=200)

    assert worker.runs.silent(199) == []


def test_settled_run_is_never_silent() -> None:
    worker = Worker()
    worker.take(started(), finished(), at=100)

    assert worker.runs.silent(1000) == []


def test_answered_silence_settles_the_run() -> None:
    worker = Worker()
    worker.take(started(), proposed(), at=100)
    [(run_id, count)] = worker.runs.silent(100)
    worker.take(expired(count, run_id=run_id), at=200)

    assert list(worker.runs.settled) == ["r-1"]
    assert not worker.runs.open


def test_settled_runs_are_forgotten_by_age(restarts: bool) -> None:
    worker = Worker()
    for number, at in ((1, 100), (2, 200), (3, 300)):
        worker.take(finished(f"r-{number}"), at=at)
    if restarts:
        worker.restart()

    assert worker.runs.forget(100) == {}
    assert worker.runs.forget(300) == {marker_key("r-1"): None, marker_key("r-2"): None}
    assert list(worker.runs.settled) == ["r-3"]


def test_successor_removes_what_died_while_settling_left_behind() -> None:
    worker = Worker()
    worker.take(started(), proposed(), at=100)
    half = dict(worker.state)
    worker.take(finished(), at=200)
    worker.state = half | worker.state

    leftovers = worker.restart()

    assert leftovers == {event_key("r-1", 0): None, event_key("r-1", 3): None}
    assert not worker.runs.open
    assert list(worker.runs.settled) == ["r-1"]


@MODEST
@given(st.permutations(range(12)))
def test_state_may_be_read_back_in_any_order(order: list[int]) -> None:
    """The first of what conflicts stands; offsets are numbers there, not text."""
    worker = Worker()
    versions = [attempted(1, f"version {number}", IDLE) for number in range(12)]
    worker.take(*versions, at=100)

    state = list(worker.state.items())
    successor = Partition(extended=False)
    successor.restore((state[n][0], *state[n][1]) for n in order)

    [standing] = successor.open["r-1"].run.attempts.values()
    assert standing.code == "version 0"


@MODEST
@given(st.text(min_size=1, max_size=20), st.integers(0, 2**63 - 1))
def test_state_keys_give_back_what_they_were_made_of(run_id: str, offset: int) -> None:
    assert split_key(event_key(run_id, offset)) == (run_id, str(offset).encode())
    assert split_key(marker_key(run_id)) == (run_id, b"settled")


DIGEST = st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES)
# Of two letters, so that a digest often stands across the border of two others.
LIKE = st.text("ab", min_size=DIGEST_BYTES, max_size=DIGEST_BYTES).map(str.encode)


@MODEST
@given(st.lists(DIGEST | LIKE, max_size=40), DIGEST | LIKE)
def test_marker_knows_its_digests_and_no_other(digests: list[bytes], other: bytes) -> None:
    marker = Marker("finished", b"".join(digests))

    assert all(marker.knows(digest) for digest in digests)
    assert marker.knows(other) == (other in digests)


def test_digest_across_a_border_is_not_known() -> None:
    marker = Marker("finished", b"abcdefghijklmnop" + b"efghijkl")

    assert marker.knows(b"efghijkl")
    assert not Marker("finished", b"abcdefghijklmnop").knows(b"efghijkl")
