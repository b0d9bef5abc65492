"""What the intake takes, and what it leaves."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.dead_letters import Origin
from tests.trainer.fed_intake import (
    PAIRS,
    PARTITIONS,
    VALUES,
    Refused,
    feed_by_parts,
    open_intake,
    records,
)
from tests.trainer.invariants import all_lines, assert_sound, spread
from tests.trainer.made_pairs import line

# The same examples every time: no test may depend on luck.
EXAMPLES = settings(max_examples=12, deadline=None, derandomize=True, database=None)


@EXAMPLES
@given(
    order=st.permutations(VALUES),
    again=st.lists(st.sampled_from(VALUES), max_size=20),
    reads=st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["", "close", "cut"])), min_size=4),
)
def test_every_pair_stands_in_one_dataset_once_whatever_the_order_and_the_cuts(
    order: list[bytes],
    again: list[bytes],
    reads: list[tuple[int, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("data")
    intake = open_intake(root)
    for _ in feed_by_parts(intake, records([*order[:20], *again, *order]), reads):
        pass
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
