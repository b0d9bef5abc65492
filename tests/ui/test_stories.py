"""Stories of runs: what is shown is soon what there is, and no failure stays."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from pairstream.run_events import Fate
from pairstream.story import Story
from pairstream.ui import stories
from pairstream.ui.stories import FRESH_SECONDS, KEPT, Reading, Stories
from schemas.errors import PairstreamError
from schemas.settings import DataSettings, WorkerSettings
from tests.waiting import wait_for


class Topics:
    """Stands in for what stories are read from: each reading gives the next number."""

    def __init__(self) -> None:
        self.readings = 0
        self.fails: Exception | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()

    def read_story(self, _: object, run_id: str, *__: object, **___: object) -> Story:
        self.may_answer.wait(30)
        if self.fails is not None:
            raise self.fails
        self.readings += 1
        return Story(
            run_id=run_id, fate=Fate("open", self.readings, None, []), expires_at=None,
            forgotten=datetime.now(UTC), events=[], dead_letters=[], outcomes=[], scored_rows=[],
            pairs=[], unreadable=[],
        )  # fmt: skip


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> Topics:
    found = Topics()
    monkeypatch.setattr(stories, "read_story", found.read_story)
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(topics: Topics, clock: Clock) -> Iterator[Stories]:
    with Stories(WorkerSettings(), DataSettings(), clock) as found:
        yield found
        topics.may_answer.set()


def current(look: Callable[[], Reading]) -> int:
    """The number of the reading, once nothing is being read."""

    def found() -> Reading | None:
        reading = look()
        return reading if reading.is_current else None

    return number(wait_for(found))


def number(reading: Reading) -> int:
    assert reading.story is not None
    return reading.story.fate.taken_in


def test_a_story_is_kept_for_a_while_and_shown_until_a_newer_one_is_read(
    kept: Stories, topics: Topics, clock: Clock
) -> None:
    assert current(lambda: kept.read("r")) == 1
    clock.now = FRESH_SECONDS
    assert current(lambda: kept.read("r")) == 1

    clock.now += 1
    topics.may_answer.clear()
    meanwhile = kept.read("r")
    assert (meanwhile.is_current, number(meanwhile)) == (False, 1)
    known = kept.known("r")
    assert known is not None
    assert known.fate.taken_in == 1
    topics.may_answer.set()
    assert current(lambda: kept.read("r")) == 2


def test_a_story_from_before_the_run_was_settled_is_read_again_and_once(
    kept: Stories,
) -> None:
    assert current(lambda: kept.read("r")) == 1
    for _ in range(3):
        assert current(lambda: kept.read("r", is_settled=True)) == 2


def test_reading_anew_is_begun_once_however_often_the_page_looks(
    kept: Stories, topics: Topics
) -> None:
    current(lambda: kept.read("r", is_settled=True))
    topics.may_answer.clear()
    for _ in range(3):
        kept.read_anew("r", is_settled=True)
        assert not kept.read("r", is_settled=True).is_current
    topics.may_answer.set()

    assert current(lambda: kept.read("r", is_settled=True)) == 2
    assert topics.readings == 2


def test_what_failed_is_told_once_and_tried_again(kept: Stories, topics: Topics) -> None:
    topics.fails = PairstreamError("no broker answers")
    assert kept.read("r").problem == "no broker answers"
    topics.fails = FileNotFoundError("gone")
    with pytest.raises(FileNotFoundError):
        kept.read("r")
    assert kept.known("r") is None
    topics.fails = None

    assert current(lambda: kept.read("r")) == 1


def test_more_looks_at_once_than_are_kept_are_all_answered(kept: Stories, topics: Topics) -> None:
    topics.may_answer.clear()
    runs = [f"r-{n}" for n in range(2 * KEPT)]
    with ThreadPoolExecutor(len(runs)) as pool:
        readings = list(pool.map(kept.read, runs))
    assert {(each.story, each.problem, each.is_current) for each in readings} == {
        (None, None, False)
    }
    topics.may_answer.set()

    for run_id in runs:
        current(lambda run_id=run_id: kept.read(run_id))  # type: ignore[misc]
    assert len(kept._jobs) <= KEPT
