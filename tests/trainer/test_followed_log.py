"""A container's log, copied bit by bit."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.followed_log import FollowedLog, in_utc, lines_of

STAMPS = [f"2026-11-30T10:00:{n // 10:02d}.{n % 10}00000000Z" for n in range(100)]


def test_lines_that_come_again_are_written_once(tmp_path: Path) -> None:
    followed = FollowedLog(tmp_path)
    asked: list[datetime | None] = []

    def engine(*lines: str) -> None:
        def lines_since(since: datetime | None) -> Sequence[str]:
            asked.append(since)
            return lines

        followed.copy(lines_since)

    engine()
    engine(f"{STAMPS[0]} a", f"{STAMPS[15]} b")
    engine(f"{STAMPS[15]} b", f"{STAMPS[16]} ", f"{STAMPS[16]} lost: the same moment")
    engine(f"{STAMPS[16]} ", f"{STAMPS[17]} c d")

    assert (tmp_path / "training.log").read_text() == "a\nb\n\nc d\n"
    assert asked == [None, None, *2 * [datetime(2026, 11, 30, 10, 0, 1, tzinfo=UTC)]]


def test_a_new_one_writes_all_anew_and_one_that_cannot_read_changes_nothing(tmp_path: Path) -> None:
    FollowedLog(tmp_path).copy(lambda _: [f"{STAMPS[0]} a"])

    def refuses(_: object) -> list[str]:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        FollowedLog(tmp_path).copy(refuses)
    assert (tmp_path / "training.log").read_text() == "a\n"

    FollowedLog(tmp_path).copy(lambda _: [f"{STAMPS[1]} b", f"{STAMPS[2]} c"])
    assert (tmp_path / "training.log").read_text() == "b\nc\n"


def test_the_rest_of_a_long_line_follows_it(tmp_path: Path) -> None:
    followed = FollowedLog(tmp_path)

    followed.copy(lambda _: [f"{STAMPS[0]} a", "no stamp", f"{STAMPS[1]} b"])
    followed.copy(
        lambda _: [f"{STAMPS[0]} a", "no stamp", f"{STAMPS[2]} c", "2026-99-99T1 is none"]
    )

    assert (tmp_path / "training.log").read_text() == ("a\nno stamp\nb\nc\n2026-99-99T1 is none\n")


def test_only_newlines_end_a_line() -> None:
    assert lines_of("a\u2028b\x0c\r\nc\n".encode() + b"\xff") == ["a\u2028b\x0c\r", "c", "\ufffd"]
    assert lines_of(b"") == []


@pytest.mark.parametrize(
    ("stamp", "moment"),
    [
        ("2026-11-30T10:00:00Z", "2026-11-30T10:00:00.000000000"),
        ("2026-11-30T10:00:00.12Z", "2026-11-30T10:00:00.120000000"),
        ("2026-11-30T12:00:00.123456789+02:00", "2026-11-30T10:00:00.123456789"),
        ("2026-13-30T12:00:00Z", None),
        ("begun", None),
    ],
)
def test_timestamps_of_all_engines_sort_as_their_moments(stamp: str, moment: str | None) -> None:
    assert in_utc(stamp) == moment


@given(steps=st.lists(st.integers(1, 10), max_size=20), data=st.data())
def test_whatever_windows_are_seen_each_line_is_written_once(
    steps: list[int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    followed, seen = FollowedLog(folder), 0
    for step in steps:
        first = data.draw(st.integers(0, seen)) if seen else 0
        seen = min(len(STAMPS), seen + step)
        window = [f"{STAMPS[n]} line {n}" for n in range(first, seen)]
        followed.copy(lambda _, window=window: window)

    if steps:
        text = (folder / "training.log").read_text()
        assert text == "".join(f"line {n}\n" for n in range(seen))
