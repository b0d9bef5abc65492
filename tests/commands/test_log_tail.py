"""Logs that are followed as they grow, or are written anew."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pairstream.tail import SEEN_BYTES, LogTail
from tests.trainer.left_in_place import LEFT_IN_PLACE


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "training.log"


def test_lines_come_once_they_are_whole(log: Path) -> None:
    tail = LogTail(log)
    assert list(tail.news()) == []
    assert tail.is_missing
    found = []
    for part in (b"on", b"e\ntwo\nth", b"r\xff\n" + b"x" * 2 * SEEN_BYTES, b"\nlast"):
        with log.open("ab") as file:
            file.write(part)
        found += list(tail.news())

    assert found == ["one", "two", "thr\ufffd", "x" * 2 * SEEN_BYTES]
    assert list(tail.rest()) == ["last"]


@pytest.mark.parametrize("new", [b"new\n", b"new 1\n" * 3, b"new 1\n" * 2 * SEEN_BYTES])
def test_a_log_that_was_written_anew_is_read_from_its_start(log: Path, new: bytes) -> None:
    log.write_bytes(b"old 1\nold 2\npart")
    tail = LogTail(log)
    assert list(tail.news()) == ["old 1", "old 2"]

    log.write_bytes(new)
    assert list(tail.news()) == new.decode().splitlines()
    log.unlink()
    assert list(tail.news()) == []
    log.write_bytes(b"another\n" + new)
    assert list(tail.news()) == ["another", *new.decode().splitlines()]


@pytest.mark.parametrize("place", LEFT_IN_PLACE)
def test_what_a_training_left_in_its_place_counts_as_not_there(
    log: Path, place: Callable[[Path], None]
) -> None:
    place(log)

    assert list(LogTail(log).news()) == []
