"""Segments: names that hold the offsets, nothing half written, nothing replaced."""

import os
from pathlib import Path

import pytest

from schemas.errors import PairstreamError
from tests.trainer.invariants import sha256
from trainer import segments
from trainer.segments import (
    OpenSegment,
    Segment,
    list_segments,
    next_offsets,
    remove_unfinished,
    verify_segment,
)

LINES = [b'{"pair_id":"a"}\n', b'{"pair_id":"\xc3\xa4"}\n']


def closed(folder: Path, partition: int, first: int, last: int) -> Segment:
    opened = OpenSegment(folder, partition, first)
    for number, line in enumerate(LINES):
        opened.add(f"{number:032x}", line)
    opened.cover(last)
    return opened.close()


def test_a_segments_name_holds_its_offsets_rows_and_hash(tmp_path: Path) -> None:
    segment = closed(tmp_path, 3, 100, 160)

    digest = sha256(b"".join(LINES))[:16]
    assert str(segment.path) == f"3/{100:020d}-{160:020d}.2.{digest}.jsonl"
    assert (tmp_path / segment.path).read_bytes() == b"".join(LINES)
    assert list_segments(tmp_path) == [segment]
    assert [path.name for path in (tmp_path / "3").iterdir()] == [segment.path.name]


def test_offsets_without_rows_are_covered_too(tmp_path: Path) -> None:
    opened = OpenSegment(tmp_path, 0, 5)
    opened.cover(9)

    segment = opened.close()
    assert (segment.first, segment.last, segment.rows) == (5, 9, 0)
    assert next_offsets([segment]) == {0: 10}


def test_segments_are_listed_by_partition_and_offset_as_numbers(tmp_path: Path) -> None:
    for partition, first, last in ((10, 0, 4), (2, 7, 8), (2, 0, 6)):
        closed(tmp_path, partition, first, last)

    found = list_segments(tmp_path)
    assert [(s.partition, s.first, s.last) for s in found] == [(2, 0, 6), (2, 7, 8), (10, 0, 4)]
    assert next_offsets(found) == {2: 9, 10: 5}


@pytest.mark.parametrize(("first", "what"), [(12, "a gap"), (9, "an overlap")])
def test_segments_that_do_not_follow_one_another_are_refused(
    first: int, what: str, tmp_path: Path
) -> None:
    closed(tmp_path, 1, 0, 10)
    closed(tmp_path, 1, first, 20)

    with pytest.raises(PairstreamError, match=f"partition 1 .* between 10 and {first}"):
        list_segments(tmp_path)


@pytest.mark.parametrize("name", ["0/notes.jsonl", "old/x.jsonl", "0/1-2.3.abcd.jsonl"])
def test_a_file_that_is_no_segment_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).touch()

    with pytest.raises(PairstreamError, match=f"{tmp_path / name} is no segment"):
        list_segments(tmp_path)


def test_what_was_not_finished_is_no_segment_and_is_removed(tmp_path: Path) -> None:
    segment = closed(tmp_path, 0, 0, 1)
    opened = OpenSegment(tmp_path, 0, 2)
    opened.add("0" * 32, LINES[0])

    assert list_segments(tmp_path) == [segment]
    remove_unfinished(tmp_path)
    assert [path.name for path in (tmp_path / "0").iterdir()] == [segment.path.name]


def test_a_segment_never_replaces_another(tmp_path: Path) -> None:
    segment = closed(tmp_path, 0, 0, 1)
    (tmp_path / segment.path).write_bytes(b"someone else's")

    with pytest.raises(FileExistsError):
        closed(tmp_path, 0, 0, 1)
    assert (tmp_path / segment.path).read_bytes() == b"someone else's"


def test_a_damaged_or_missing_segment_is_named(tmp_path: Path) -> None:
    segment = closed(tmp_path, 0, 0, 1)
    path = tmp_path / segment.path
    verify_segment(tmp_path, segment)

    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(PairstreamError, match=f"{path} is damaged"):
        verify_segment(tmp_path, segment)
    path.unlink()
    with pytest.raises(PairstreamError, match=f"{path} is gone"):
        verify_segment(tmp_path, segment)


def test_content_is_on_disk_before_its_name_and_its_name_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0").mkdir()
    done: list[str] = []
    fsync, link = os.fsync, os.link

    def record_fsync(handle: int) -> None:
        done.append(f"fsync {Path(f'/proc/self/fd/{handle}').readlink().name}")
        fsync(handle)

    def record_link(source: Path, target: Path) -> None:
        done.append(f"link {source.name}")
        link(source, target)

    monkeypatch.setattr(segments.os, "fsync", record_fsync)
    monkeypatch.setattr(segments.os, "link", record_link)
    closed(tmp_path, 0, 0, 1)

    named = f"fsync {tmp_path.name}"  # the partition's folder may be a killed trainer's
    assert done == [named, "fsync open.tmp", "link open.tmp", "fsync 0"]
