"""Cuts that do not take every pair: what is left out, what waits, and that nothing is lost."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from schemas.errors import PairstreamError
from schemas.rows import encode
from tests.trainer.fed_intake import (
    PAIRS,
    PARTITIONS,
    VALUES,
    Refused,
    feed_by_parts,
    open_intake,
    records,
)
from tests.trainer.invariants import (
    all_lines,
    assert_sound,
    datasets,
    left_out,
    manifest,
    snapshot,
)
from tests.trainer.made_pairs import line, make_pairs
from trainer.datasets import read_manifest, verify_dataset
from trainer.intake import Intake
from trainer.left_out import waiting_ids

# The same examples every time: no test may depend on luck.
EXAMPLES = settings(max_examples=12, deadline=None, derandomize=True, database=None)

HONEST = [pair for pair in PAIRS if pair.garbler is None]
GARBLED = [pair for pair in PAIRS if pair.garbler is not None]

CAP: dict[str, Any] = {"max_garbled_share": 0.3}


def fed(root: Path, values: list[bytes], **given: Any) -> Intake:
    """An intake with closed segments of these, on one partition after another."""
    intake = open_intake(root, **given)
    intake.take(records(values), Refused())
    intake.close_segments()
    return intake


def feed(intake: Intake, everything: list[bytes], start: int) -> None:
    """Take in what stands behind the first so many records of a topic."""
    intake.take(records(everything)[start:], Refused())
    intake.close_segments()


def ids(lines: list[bytes]) -> set[str]:
    return {json.loads(each)["pair_id"] for each in lines}


def test_what_is_beyond_its_share_waits_and_is_listed(tmp_path: Path) -> None:
    found = fed(tmp_path, VALUES, **CAP).cut()

    assert found is not None
    taken = len(HONEST) * 3 // 7
    assert (found.pairs, found.waiting) == (len(HONEST) + taken, len(GARBLED) - taken)
    assert found.left_out == {"garbled_share": found.waiting}
    assert found.composition is not None
    assert found.composition.garbled == taken
    [folder] = datasets(tmp_path)
    waits = sorted(pair.pair_id for pair in GARBLED)[taken:]
    assert left_out(folder) == [
        {"pair_id": pair_id, "reason": "garbled_share", "waits": True} for pair_id in waits
    ]
    assert ids(all_lines(tmp_path)) == {pair.pair_id for pair in PAIRS} - set(waits)
    assert verify_dataset(folder) == found


def test_what_waits_is_a_candidate_again_and_stands_in_one_dataset(tmp_path: Path) -> None:
    later = [encode(pair) for pair in make_pairs(60, mark="later") if pair.garbler is None]
    intake = fed(tmp_path, VALUES, **CAP)
    first = intake.cut()
    assert intake.new_pairs == 0
    feed(intake, [*VALUES, *later], len(VALUES))
    assert intake.new_pairs == len(later)
    second = intake.cut()

    assert first is not None
    assert second is not None
    assert second.waited == first.waiting > 0
    assert second.left_out == {}
    assert second.pairs == first.waiting + len(later)
    assert sorted(all_lines(tmp_path)) == sorted([value + b"\n" for value in [*VALUES, *later]])
    assert_sound(tmp_path, ends=intake.positions)


def test_a_restart_knows_what_waits(tmp_path: Path) -> None:
    later = [encode(pair) for pair in make_pairs(9, mark="later")]
    contents = []
    for restarts in (False, True):
        root = tmp_path / str(restarts)
        intake = fed(root, VALUES, **CAP)
        intake.cut()
        if restarts:
            intake.close()
            intake = open_intake(root, **CAP)
        feed(intake, [*VALUES, *later], len(VALUES))
        intake.cut()
        contents.append([all_lines(root), *map(left_out, datasets(root))])

    assert contents[0] == contents[1]
    assert contents[0][2]


def test_without_the_cap_all_that_waits_is_taken(tmp_path: Path) -> None:
    fed(tmp_path, VALUES, **CAP).cut()
    intake = open_intake(tmp_path)
    feed(intake, [*VALUES, encode(make_pairs(2, mark="later")[-1])], len(VALUES))
    second = intake.cut()

    assert second is not None
    assert second.waited == second.pairs - 1 > 0
    assert second.left_out == {}


def test_where_all_wait_no_dataset_is_cut_and_nothing_is_lost(tmp_path: Path) -> None:
    garbled = [encode(pair) for pair in GARBLED]
    with capture_logs() as logs:
        intake = fed(tmp_path, garbled, **CAP)
        assert intake.cut() is None
    assert intake.new_pairs == len(garbled)
    told = [each for each in logs if each["event"] == "nothing_to_cut"]
    assert [each["left_out"] for each in told] == [{"garbled_share": len(garbled)}]
    assert datasets(tmp_path) == []

    honest = [encode(pair) for pair in HONEST]
    feed(intake, [*garbled, *honest], len(garbled))
    found = intake.cut()

    assert found is not None
    assert found.pairs + found.waiting == len(PAIRS)
    assert_sound(tmp_path, ends=intake.positions)


def test_duplicates_are_left_out_for_good(tmp_path: Path) -> None:
    again = json.loads(VALUES[-1])
    double = [encode(pair) for pair in make_pairs(24, mark="r") if pair.pair_id == again["pair_id"]]
    other_run = make_pairs(3, mark="other")[-1]
    texts = {side: again[side] for side in ("prompt", "chosen", "rejected")}
    copy = json.dumps({**json.loads(encode(other_run)), **texts}).encode()
    intake = fed(tmp_path, [*VALUES, *double, copy], duplicates="exact")
    found = intake.cut()

    assert found is not None
    assert found.left_out == {"duplicate": 1}
    [folder] = datasets(tmp_path)
    [left] = left_out(folder)
    assert left["pair_id"] == max(again["pair_id"], other_run.pair_id)
    assert not left["waits"]
    assert waiting_ids(folder, found) == frozenset()
    assert found.composition is not None
    assert found.composition.exact_duplicates == 0


def test_by_task_a_task_never_stands_on_both_sides(tmp_path: Path) -> None:
    values = [
        json.dumps({**json.loads(value), "task_id": f"t-{n % 7}" if n % 5 else None}).encode()
        for n, value in enumerate(VALUES)
    ]
    fed(tmp_path, values, held_out_by="task", eval_fraction=0.4).cut()

    [folder] = datasets(tmp_path)
    train, held_out = (
        {row["task_id"] for row in map(json.loads, (folder / name).read_bytes().splitlines())}
        for name in ("train.jsonl", "eval.jsonl")
    )
    assert train - {None}
    assert held_out - {None}
    assert (train & held_out) <= {None}
    assert_sound(tmp_path, ends=open_intake(tmp_path).positions)


# --- Whatever came when --------------------------------------------------------------------------


def test_shuffled_reads_of_the_partitions_give_the_same_files(tmp_path: Path) -> None:
    contents = []
    for seed in range(3):
        root = tmp_path / str(seed)
        by_partition = [records(VALUES)[partition::PARTITIONS] for partition in range(PARTITIONS)]
        random.Random(seed).shuffle(by_partition)
        intake = open_intake(root, duplicates="near", max_agent_share=0.9, **CAP)
        for part in by_partition:
            intake.take(part, Refused())
        intake.close_segments()
        intake.cut()
        contents.append((all_lines(root), [left_out(folder) for folder in datasets(root)]))

    assert contents[0] == contents[1] == contents[2]


@EXAMPLES
@given(
    order=st.permutations(VALUES),
    again=st.lists(st.sampled_from(VALUES), max_size=20),
    reads=st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["", "close", "cut"])), min_size=4),
    chosen=st.sampled_from(
        [CAP, {"max_garbled_share": 0.0}, {"duplicates": "near", **CAP}, {"min_score_gap": 99.0}]
    ),
)
def test_every_pair_stands_in_one_dataset_or_is_listed_whatever_the_order_and_the_cuts(
    order: list[bytes],
    again: list[bytes],
    reads: list[tuple[int, str]],
    chosen: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("data")
    intake = open_intake(root, **chosen)
    published: dict[str, tuple[int, str]] = {}
    for _ in feed_by_parts(intake, records([*order[:20], *again, *order]), reads):
        assert snapshot(root).items() >= published.items()
        published = snapshot(root)
    waiting = intake.new_pairs
    last = intake.cut() if waiting else None

    assert_sound(root, ends=intake.positions)
    found = datasets(root)
    gone = {each["pair_id"] for folder in found for each in left_out(folder) if not each["waits"]}
    newest = {each["pair_id"] for folder in found[-1:] for each in left_out(folder)}
    told = ids(all_lines(root)) | gone | newest
    uncut = {pair.pair_id for pair in PAIRS} - told
    assert len(uncut) == (0 if last or not waiting else waiting)


# --- Damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_damaged_list_is_named_before_anything_is_cut(damage: str, tmp_path: Path) -> None:
    fed(tmp_path, VALUES, **CAP).cut()
    [folder] = datasets(tmp_path)
    path = folder / "left-out.jsonl"
    if damage == "gone":
        path.unlink()
    else:
        path.chmod(0o644)
        path.write_bytes(path.read_bytes().replace(b"true", b"false", 1))

    with pytest.raises(PairstreamError, match=r"left-out\.jsonl"):
        open_intake(tmp_path, **CAP)


def test_a_segment_that_was_damaged_while_its_pairs_waited_is_named(tmp_path: Path) -> None:
    intake = fed(tmp_path, VALUES, **CAP)
    intake.cut()
    feed(intake, [*VALUES, encode(make_pairs(2, mark="later")[-1])], len(VALUES))
    path = next(path for path in tmp_path.glob("segments/0/*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b"free(", b"Free("))

    with pytest.raises(PairstreamError, match="is damaged"):
        intake.cut()

    assert len(datasets(tmp_path)) == 1


def test_a_manifest_of_an_older_trainer_leaves_nothing_out(tmp_path: Path) -> None:
    fed(tmp_path, VALUES).cut()
    [folder] = datasets(tmp_path)
    told = manifest(folder)
    for name in ("composition", "left_out", "waited"):
        del told[name]
    told["settings"] = {"eval_fraction": 0.1}
    (folder / "manifest.json").chmod(0o644)
    (folder / "manifest.json").write_text(json.dumps(told))

    found = read_manifest(folder)

    assert (found.composition, found.left_out, found.waited) == (None, {}, 0)
    assert found.settings.takes_all
    assert open_intake(tmp_path, **CAP).new_pairs == 0


def test_lines_are_those_that_came(tmp_path: Path) -> None:
    fed(tmp_path, VALUES, **CAP).cut()

    assert set(all_lines(tmp_path)) < set(map(line, PAIRS))
