"""Rebuilding in parts: how they are shared out, sorted, merged and watched."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairstream import sorted_lines
from pairstream.part_process import run_parts
from pairstream.reader import Part
from pairstream.rebuild import FOLDING, MergedLines, shares
from pairstream.rebuild_part import LinesOfEvents, Work
from pairstream.reports import Report
from pairstream.sorted_lines import SortedLines
from schemas.errors import PairstreamError
from schemas.settings import GarblingSettings
from tests.commands.deployment import attempted, finished, proposed, started

# --- Shares --------------------------------------------------------------------------------------

ranges = st.dictionaries(
    st.integers(0, 40), st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted).map(tuple)
)


@settings(deadline=None)
@given(ranges, st.integers(1, 9))
def test_each_partition_that_holds_something_is_in_one_share(
    ranges: dict[int, tuple[int, int]], processes: int
) -> None:
    divided = shares(Part(ranges, 7), processes=processes)

    together = [item for part in divided for item in part.ranges.items()]
    assert sorted(together) == sorted(item for item in ranges.items() if item[1][1] > item[1][0])
    assert len(divided) <= processes
    assert all(part.ranges and part.since_ms == 7 for part in divided)


def test_shares_are_of_a_like_size() -> None:
    sizes = {0: (0, 60), 1: (0, 30), 2: (10, 40), 3: (5, 5)}
    assert [dict(part.ranges) for part in shares(Part(sizes, 0), processes=2)] == [
        {0: (0, 60)},
        {1: (0, 30), 2: (10, 40)},
    ]


# --- Sorting -------------------------------------------------------------------------------------


def _line(number: int, text: str) -> bytes:
    # Spread over all ids that there may be, so that every share gets some.
    return b'{"pair_id":"%032x","text":"%s"}\n' % (number << 123, text.encode())


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 31), st.sampled_from("abc")))),
    st.integers(1, 400),
    st.integers(2, 4),
    st.integers(1, 5),
)
def test_merged_lines_are_the_first_of_each_id_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[list[tuple[int, str]]],
    bytes_a_file: int,
    files_at_once: int,
    shares: int,
) -> None:
    folders, first = [], dict[int, bytes]()
    for part in parts:
        folder = tmp_path_factory.mktemp("part")
        folders.append(folder)
        target = SortedLines(folder, shares=shares, bytes_a_file=bytes_a_file)
        for number, text in part:
            target.add(_line(number, text))
            first.setdefault(number, _line(number, text))
        target.close()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sorted_lines, "FILES_AT_ONCE", files_at_once)
        lines = MergedLines(folders, shares=shares)
        assert list(lines) == [line for _, line in sorted(first.items())]


# --- Folding -------------------------------------------------------------------------------------

DEFAULTS = GarblingSettings()


@dataclass(frozen=True)
class _Record:
    """What is read of a Kafka message."""

    of_partition: int
    at: int
    run: str
    said: bytes
    at_ms: int

    def partition(self) -> int:
        return self.of_partition

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes:
        return self.run.encode()

    def value(self) -> bytes:
        return self.said

    def timestamp(self) -> tuple[int, int]:
        return 1, self.at_ms


def _log() -> list[_Record]:
    """Runs of two partitions, with so much between that what was settled is forgotten."""
    pause_ms = int(DEFAULTS.settled_run_memory_seconds * 1000) // 4
    log: list[_Record] = []
    for number in range(12):
        run, partition = f"r-{number % 5}", number % 5 % 2
        events = (
            started(run), proposed(run), attempted(run, 1, score=0.0),
            attempted(run, 2, score=float(number + 1)), finished(run),
        )  # fmt: skip
        log += [
            _Record(partition, len(log) + place, run, msgspec.json.encode(event), number * pause_ms)
            for place, event in enumerate(events)
        ]
    return log


def _lines(log: list[_Record], cuts: list[int], by: GarblingSettings = DEFAULTS) -> list[bytes]:
    lines = LinesOfEvents(by)
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        found += lines.of(log[begin:end])  # type: ignore[arg-type]
    found += lines.rest()
    lines.close()
    return found


def test_settled_runs_are_remembered_as_long_as_by_a_worker() -> None:
    for_ever = GarblingSettings(settled_run_memory_seconds=100 * 365 * 86400.0)

    assert len(_lines(_log(), [], for_ever)) == 5  # one for each run, though each came again


@settings(deadline=None)
@given(st.lists(st.integers(0, len(_log()))).map(sorted))
def test_how_the_reads_fall_changes_no_line(cuts: list[int]) -> None:
    whole = _lines(_log(), [])
    assert len(whole) > 5, "runs that were forgotten give pairs again"
    assert _lines(_log(), cuts) == whole


# --- Processes -----------------------------------------------------------------------------------


def _works(folder: Path, count: int) -> list[Work]:
    part = Part({0: (0, 1)}, 0)
    return [Work("pairs", GarblingSettings(), "t", part, f"{folder}/{n}", 1) for n in range(count)]


def _interpreter(path: Path, script: str) -> str:
    """Stands in for the one that would run a part."""
    path.write_text(f"#!/bin/sh\ncat > {path}.work\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_reports_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    says = """echo '{"read":40}'; echo '{"read":70,"invalid":2,"done":true}'"""
    monkeypatch.setattr(sys, "executable", _interpreter(tmp_path / "python", says))
    told: list[int] = []

    assert run_parts(FOLDING, _works(tmp_path, 2), told.append) == [Report(70, 2, done=True)] * 2
    assert sorted(told)[0] == 40
    assert max(told) in (80, 110)
    work = (tmp_path / "python.work").read_bytes()
    assert msgspec.json.decode(work, type=Work).part == Part({0: (0, 1)}, 0)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("""echo '{"read":4}'; kill -9 $$""", "ended without its result"),
        ("""echo '{"error":"the broker is gone"}'; sleep 300""", "the broker is gone"),
    ],
)
def test_a_part_that_fails_ends_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    # The first to come goes on for ever, the other one fails.
    both = f"if mkdir {tmp_path}/first; then echo $$ > {tmp_path}/pid; exec sleep 300; fi"
    waits = f"until [ -s {tmp_path}/pid ]; do :; done"
    fake = _interpreter(tmp_path / "python", f"{both}; {waits}; {script}")
    monkeypatch.setattr(sys, "executable", fake)

    with pytest.raises(PairstreamError, match=message):
        run_parts(FOLDING, _works(tmp_path, 2), lambda _: None)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
