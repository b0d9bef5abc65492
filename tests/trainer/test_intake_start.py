"""What an intake refuses to start on, and what it repairs."""

from pathlib import Path

import pytest

from schemas.errors import PairstreamError
from tests.trainer.fed_intake import PAIRS, VALUES, Refused, open_intake, records
from tests.trainer.invariants import all_lines, assert_sound
from tests.trainer.made_pairs import line
from trainer.layout import DataDir


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """Three segments in each partition, the first two of which stand in a dataset."""
    intake = open_intake(tmp_path)
    for part in range(3):
        intake.take(records(VALUES[:27])[part * 9 : part * 9 + 9], Refused())
        intake.close_segments()
        if part == 1:
            intake.cut()
    return tmp_path


def segment(root: Path, place: int) -> Path:
    return sorted((root / "segments" / "1").iterdir())[place]


@pytest.mark.parametrize(
    ("places", "what"),
    [
        ([0], "segments of partition 1 in .* begin at 3, not at 0: restore the first ones"),
        ([1], "segments of partition 1 in .* leave out the offsets between 2 and 6"),
        (
            [1, 2],
            "segments of partition 1 in .* do not lead up to 6, where the newest dataset ends",
        ),
        ([0, 1, 2], "segments of partition 1 in .* do not lead up to 6"),
    ],
)
def test_missing_segments_are_named_and_nothing_is_read(
    places: list[int], what: str, filled: Path
) -> None:
    for path in [segment(filled, place) for place in places]:
        path.unlink()

    with pytest.raises(PairstreamError, match=what):
        open_intake(filled)


def test_the_newest_segments_of_no_dataset_may_be_read_again(filled: Path) -> None:
    segment(filled, 2).unlink()

    intake = open_intake(filled)
    assert intake.positions == {0: 9, 1: 6, 2: 9}
    intake.take(records(VALUES[:27])[19::3], Refused())
    intake.close_segments()
    intake.cut()
    assert sorted(all_lines(filled)) == sorted(line(pair) for pair in PAIRS[:27])


def test_a_segment_damaged_while_it_waits_is_named_and_not_published(filled: Path) -> None:
    intake = open_intake(filled)
    damaged = segment(filled, 2)
    damaged.write_bytes(damaged.read_bytes().replace(b"12.5", b"99.5"))

    with pytest.raises(PairstreamError, match=f"{damaged} is damaged"):
        intake.cut()
    assert DataDir(filled).dataset_names() == ["ds-000001"]


def test_what_a_killed_trainer_left_half_done_is_removed(filled: Path) -> None:
    (filled / "segments" / "1" / "open.tmp").write_bytes(b"half a line")
    (filled / "datasets" / ".ds-000002.tmp").mkdir()
    (filled / "datasets" / ".ds-000002.tmp" / "train.jsonl").write_bytes(b"half a line")

    intake = open_intake(filled)
    assert_sound(filled, ends=intake.positions)
