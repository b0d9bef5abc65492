"""What the intake takes, what it leaves, and what it refuses to start on."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dead_letters import Header, Origin
from schemas.errors import InvalidRecord, PairstreamError
from schemas.rows import encode
from schemas.settings import TrainerSettings
from tests.trainer.invariants import all_lines, assert_sound, spread
from tests.trainer.made_pairs import line, make_pairs
from trainer.intake import Intake, Record
from trainer.layout import DataDir
from trainer.source import Source

PAIRS = make_pairs(24)
PARTITIONS = 3
SOURCE = Source("cluster", "pairs", "topic-id", PARTITIONS)
FROM_ZERO = dict.fromkeys(range(PARTITIONS), 0)

# The same examples every time: no test may depend on luck.
EXAMPLES = settings(max_examples=12, deadline=None, derandomize=True, database=None)


def open_intake(root: Path, starts: dict[int, int] | None = None, **given: float) -> Intake:
    return Intake(
        DataDir(root), TrainerSettings(data_dir=root, **given), SOURCE, starts or FROM_ZERO
    )


def records(values: Iterable[bytes]) -> list[Record]:
    return [
        (Origin("pairs", partition, offset), b"key", [("h", b"v")], value)
        for partition, offset, value in spread(values, PARTITIONS)
    ]


@dataclass
class Refused:
    """Dead letters that were asked for."""

    letters: list[tuple[bytes | None, bytes | None, list[Header], Origin, str]] = field(
        default_factory=list
    )

    def __call__(
        self,
        key: bytes | None,
        value: bytes | None,
        original: Iterable[Header],
        origin: Origin,
        error: InvalidRecord,
    ) -> None:
        self.letters.append((key, value, list(original), origin, error.reason))


VALUES = [encode(pair) for pair in PAIRS]


@EXAMPLES
@given(
    order=st.permutations(VALUES),
    again=st.lists(st.sampled_from(VALUES), max_size=20),
    closings=st.sets(st.integers(0, len(VALUES))),
    cuts=st.sets(st.integers(0, len(VALUES)), max_size=4),
)
def test_every_pair_stands_in_one_dataset_once_whatever_the_order_and_the_cuts(
    order: list[bytes],
    again: list[bytes],
    closings: set[int],
    cuts: set[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("data")
    intake = open_intake(root)
    for place, record in enumerate(records([*order, *again])):
        intake.take([record], Refused())
        if place in closings | cuts:
            intake.close_segments()
        if place in cuts and intake.new_pairs:
            intake.cut()
    intake.close_segments()
    if intake.new_pairs:
        intake.cut()

    assert sorted(all_lines(root)) == sorted(map(line, PAIRS))
    assert_sound(root, ends=intake.positions)


def test_a_restart_goes_on_where_the_closed_segments_end(tmp_path: Path) -> None:
    intake = open_intake(tmp_path)
    intake.take(records(VALUES)[:20], Refused())
    intake.close_segments()
    intake.take(records(VALUES)[20:29], Refused())
    assert intake.positions != intake.durable_positions

    again = open_intake(tmp_path)
    assert again.positions == again.durable_positions == intake.durable_positions
    assert again.new_pairs == 20


def test_pairs_of_datasets_are_known_after_a_restart(tmp_path: Path) -> None:
    intake = open_intake(tmp_path)
    intake.take(records(VALUES)[:20], Refused())
    intake.close_segments()
    intake.cut()

    again = open_intake(tmp_path)
    again.take(records(VALUES[:20] + VALUES[:20])[20:], Refused())
    assert again.new_pairs == 0


def test_a_bad_record_is_refused_as_it_came_and_its_offset_covered(tmp_path: Path) -> None:
    intake, refused = open_intake(tmp_path), Refused()
    bad = [b"", b"\xff\x00", VALUES[0].replace(b'"s-1"', b'"s-2"'), b"[" * 100_000]
    intake.take(
        [*records(bad), (Origin("pairs", 0, 2), None, [], None), *records(VALUES[:9])[9:]], refused
    )

    assert [
        (value, origin.partition, origin.offset) for _, value, _, origin, _ in refused.letters
    ] == [
        *((value, partition, offset) for partition, offset, value in spread(bad, PARTITIONS)),
        (None, 0, 2),
    ]
    assert refused.letters[0][:3] == (b"key", b"", [("h", b"v")])
    assert {reason for *_, reason in refused.letters} == {"invalid_row"}
    assert intake.new_pairs == 0
    assert intake.positions == {0: 3, 1: 1, 2: 1}


def test_offsets_that_hold_no_record_are_covered(tmp_path: Path) -> None:
    intake = open_intake(tmp_path)
    intake.take(records(VALUES[:3]), Refused())
    intake.skip_to(0, 7)
    intake.skip_to(1, 1)
    intake.skip_to(2, 0)
    intake.close_segments()

    assert intake.durable_positions == {0: 7, 1: 1, 2: 1}
    assert_sound(tmp_path, ends={0: 7, 1: 1, 2: 1})


def test_a_topic_that_begins_late_is_read_from_there(tmp_path: Path) -> None:
    starts = {0: 100, 1: 0, 2: 5}
    intake = open_intake(tmp_path, starts)
    assert intake.positions == starts
    intake.take([(Origin("pairs", 0, 104), None, [], VALUES[0])], Refused())
    intake.close_segments()

    assert open_intake(tmp_path, starts).positions == {0: 105, 1: 0, 2: 5}
    [path] = (tmp_path / "segments" / "0").iterdir()
    assert path.name.startswith(f"{100:020d}-{104:020d}.1.")


@pytest.mark.parametrize(
    ("pairs", "given", "due"),
    [
        (0, {"segment_seconds": 0.000001}, False),
        (3, {"segment_seconds": 0.000001}, True),
        (3, {"segment_seconds": 3600.0, "segment_pairs": 4}, False),
        (4, {"segment_seconds": 3600.0, "segment_pairs": 4}, True),
    ],
)
def test_segments_are_closed_when_they_are_large_or_old(
    pairs: int, given: dict[str, float], due: bool, tmp_path: Path
) -> None:
    intake = open_intake(tmp_path, **given)
    intake.take(records(VALUES[:pairs]), Refused())

    assert intake.is_due() is due


# --- Starting on what is not complete -------------------------------------------------------------


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


def test_shuffled_reads_of_the_partitions_give_the_same_datasets(tmp_path: Path) -> None:
    contents = []
    for seed in range(2):
        root = tmp_path / str(seed)
        by_partition = [records(VALUES)[partition::PARTITIONS] for partition in range(PARTITIONS)]
        random.Random(seed).shuffle(by_partition)
        intake = open_intake(root)
        for part in by_partition:
            intake.take(part, Refused())
        intake.close_segments()
        intake.cut()
        contents.append(all_lines(root))

    assert contents[0] == contents[1]
