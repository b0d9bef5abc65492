"""`pairstream verify` knows what datasets did not take, and names a list that is not true."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tests.verify.healthy import Damageable, findings, live_through_shares
from tests.verify.test_files import (
    FIRST,
    SECOND,
    Damage,
    Named,
    assert_named,
    edit_manifest,
    id_of,
    lines_of,
    publish,
    write,
)
from trainer.content import DatasetFile
from trainer.datasets import LEFT_OUT, TRAIN, read_manifest
from trainer.layout import DataDir
from trainer.left_out import LeftOut, left_out_line


@pytest.fixture(scope="module")
def healthy(embedded_broker: str, tmp_path_factory: pytest.TempPathFactory) -> Damageable:
    """Never changed: each test damages a copy of its data directory."""
    folder = tmp_path_factory.mktemp("healthy") / "data"
    made = Damageable(embedded_broker, f"t{uuid.uuid4().hex[:10]}.", folder)
    live_through_shares(made)
    return made


def listed(data: DataDir, name: str) -> list[LeftOut]:
    path = data.datasets / name / LEFT_OUT
    return [msgspec.json.decode(line, type=LeftOut) for line in lines_of(path)]


def relist(data: DataDir, name: str, lists: list[LeftOut]) -> None:
    """Write another list, with manifests that are true of it."""
    folder = data.datasets / name
    lines = [left_out_line(left) for left in sorted(lists, key=lambda left: left.pair_id)]
    (folder / LEFT_OUT).unlink()
    writer = DatasetFile(folder / LEFT_OUT)
    for line in lines:
        writer.add(line)
    files = {**read_manifest(folder).files, LEFT_OUT: writer.finish()}
    edit_manifest(folder, files=files, left_out=dict(Counter(left.reason for left in lists)))
    if name == FIRST:
        waited = sum(left.waits for left in lists)
        edit_manifest(data.datasets / SECOND, waited=waited)


def one(lists: list[LeftOut], is_wanted: Callable[[LeftOut], bool]) -> LeftOut:
    return next(left for left in lists if is_wanted(left))


def segment_of(data: DataDir, pair_id: str) -> str:
    return next(
        str(path)
        for path in data.segments.glob("*/*.jsonl")
        if any(id_of(line) == pair_id for line in lines_of(path))
    )


# --- Lists that are not what the manifest says ---------------------------------------------------


def a_byte_of_a_list_changed(data: DataDir) -> Named:
    path = data.datasets / FIRST / LEFT_OUT
    write(path, path.read_bytes().replace(b"score_gap", b"duplicate"))
    return FIRST, str(path)


def a_list_lost(data: DataDir) -> Named:
    path = data.datasets / SECOND / LEFT_OUT
    path.unlink()
    return SECOND, str(path)


def a_list_in_another_order(data: DataDir) -> Named:
    folder = data.datasets / FIRST
    first, second, *others = lines_of(folder / LEFT_OUT)
    relist(data, FIRST, listed(data, FIRST))
    write(folder / LEFT_OUT, b"".join([second, first, *others]))
    entry = read_manifest(folder).files[LEFT_OUT]
    digest = hashlib.sha256((folder / LEFT_OUT).read_bytes()).hexdigest()
    files = {**read_manifest(folder).files, LEFT_OUT: replace(entry, sha256=digest)}
    edit_manifest(folder, files=files)
    return id_of(first), str(folder / LEFT_OUT)


def a_wrong_count_of_reasons(data: DataDir) -> Named:
    edit_manifest(data.datasets / SECOND, left_out={"garbled_share": 99})
    return SECOND, str(data.datasets / SECOND / "manifest.json")


def a_reason_that_does_not_wait_waits(data: DataDir) -> Named:
    lists = listed(data, SECOND)
    wrong = one(lists, lambda left: left.reason == "score_gap")
    relist(data, SECOND, [replace(each, waits=True) if each is wrong else each for each in lists])
    return wrong.pair_id, str(data.datasets / SECOND / LEFT_OUT)


def a_wrong_count_of_what_waited(data: DataDir) -> Named:
    edit_manifest(data.datasets / SECOND, waited=99)
    return SECOND, ""


# --- Lists that are not true of the pairs --------------------------------------------------------


def a_pair_that_was_left_out_for_good_is_not_listed(data: DataDir) -> Named:
    lists = listed(data, FIRST)
    lost = one(lists, lambda left: not left.waits)
    relist(data, FIRST, [left for left in lists if left is not lost])
    return lost.pair_id, segment_of(data, lost.pair_id)


def a_pair_that_waited_is_not_listed(data: DataDir) -> Named:
    """It stands in the second dataset, and it is not known why."""
    taken = {id_of(line) for line in lines_of(data.datasets / SECOND / TRAIN)}
    lists = listed(data, FIRST)
    lost = one(lists, lambda left: left.pair_id in taken)
    relist(data, FIRST, [left for left in lists if left is not lost])
    return lost.pair_id, segment_of(data, lost.pair_id)


def a_pair_that_waits_is_forgotten_by_the_next_list(data: DataDir) -> Named:
    waiting = {left.pair_id for left in listed(data, FIRST) if left.waits}
    lists = listed(data, SECOND)
    lost = one(lists, lambda left: left.pair_id in waiting)
    relist(data, SECOND, [left for left in lists if left is not lost])
    return lost.pair_id, segment_of(data, lost.pair_id)


def a_pair_is_both_taken_and_listed(data: DataDir) -> Named:
    pair_id = id_of(lines_of(data.datasets / FIRST / TRAIN)[0])
    relist(data, FIRST, [*listed(data, FIRST), LeftOut(pair_id, "score_gap", False)])
    return pair_id, segment_of(data, pair_id)


def a_pair_of_an_earlier_dataset_is_listed(data: DataDir) -> Named:
    pair_id = id_of(lines_of(data.datasets / FIRST / TRAIN)[0])
    relist(data, SECOND, [*listed(data, SECOND), LeftOut(pair_id, "garbled_share", True)])
    return pair_id, segment_of(data, pair_id)


def a_foreign_pair_is_listed(data: DataDir) -> Named:
    relist(data, SECOND, [*listed(data, SECOND), LeftOut("0" * 32, "score_gap", False)])
    return "0" * 32, SECOND


def a_pair_that_was_left_out_for_good_stands_in_the_next(data: DataDir) -> Named:
    left = one(listed(data, FIRST), lambda left: not left.waits)
    segment = Path(segment_of(data, left.pair_id))
    [line] = [line for line in lines_of(segment) if id_of(line) == left.pair_id]
    folder = data.datasets / SECOND
    kept = read_manifest(folder).files[LEFT_OUT]
    publish(folder, sorted([*lines_of(folder / TRAIN), line]))
    edit_manifest(folder, files={**read_manifest(folder).files, LEFT_OUT: kept})
    return left.pair_id, str(segment)


def a_share_that_is_too_large(data: DataDir) -> Named:
    settings = read_manifest(data.datasets / FIRST).settings
    edit_manifest(data.datasets / FIRST, settings=replace(settings, max_garbled_share=0.3))
    return FIRST, ""


DAMAGES: list[tuple[Damage, str]] = [
    (a_byte_of_a_list_changed, "files"),
    (a_list_lost, "files"),
    (a_list_in_another_order, "files"),
    (a_wrong_count_of_reasons, "files"),
    (a_reason_that_does_not_wait_waits, "files"),
    (a_wrong_count_of_what_waited, "positions"),
    (a_pair_that_was_left_out_for_good_is_not_listed, "once"),
    (a_pair_that_waited_is_not_listed, "once"),
    (a_pair_that_waits_is_forgotten_by_the_next_list, "once"),
    (a_pair_is_both_taken_and_listed, "once"),
    (a_pair_of_an_earlier_dataset_is_listed, "once"),
    (a_foreign_pair_is_listed, "once"),
    (a_pair_that_was_left_out_for_good_stands_in_the_next, "once"),
    (a_share_that_is_too_large, "rebuild"),
]


def test_datasets_that_left_pairs_out_are_all_well(healthy: Damageable) -> None:
    report = healthy.verify()

    assert findings(report) == {}
    assert report["holds"]
    first, second = (read_manifest(healthy.data.datasets / name) for name in (FIRST, SECOND))
    assert first.left_out.keys() == second.left_out.keys() == {"garbled_share", "score_gap"}
    assert second.waited > second.left_out["garbled_share"]


@pytest.mark.parametrize(
    ("damage", "check"), DAMAGES, ids=lambda value: getattr(value, "__name__", value)
)
def test_damage_is_named_with_its_place(
    healthy: Damageable, tmp_path: Path, damage: Damage, check: str
) -> None:
    assert_named(healthy, DataDir(tmp_path / "data"), damage, check)


def test_of_one_run_the_lists_are_no_news(healthy: Damageable) -> None:
    assert findings(healthy.verify("--run", "f-1")) == {}
