"""Datasets appear at once, whole and read-only, and follow one another without a gap."""

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.errors import PairstreamError
from schemas.source import Source
from tests.trainer.invariants import assert_dataset, sha256, snapshot
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import publish
from trainer import cut, layout
from trainer.cut import remove_unpublished
from trainer.datasets import (
    DatasetManifest,
    OffsetRange,
    read_manifest,
    uncut,
    verify_dataset,
)
from trainer.layout import DataDir
from trainer.segments import Segment
from trainer.selection import CutSettings

PAIRS = make_pairs(24)


def test_a_published_dataset_is_as_its_manifest_says_and_read_only(tmp_path: Path) -> None:
    data = publish(tmp_path, PAIRS)

    assert data.dataset_names() == ["ds-000001"]
    assert_dataset(data.datasets / "ds-000001")
    manifest = verify_dataset(data.datasets / "ds-000001")
    assert manifest.parent is None
    assert manifest.offsets == {"0": OffsetRange(0, len(PAIRS))}
    assert manifest.rules == {
        "first_time_code": 8, "first_time_strategy": 8, "mixed_code": 16
    }  # fmt: skip
    told = json.loads((data.datasets / "ds-000001" / "manifest.json").read_bytes())
    assert told["offsets"] == {"0": {"from": 0, "to": len(PAIRS)}}


@pytest.mark.parametrize("mask", [0o002, 0o027, 0o077])
def test_another_user_who_is_given_a_dataset_may_read_it(mask: int, tmp_path: Path) -> None:
    """The container of a trainer that is root runs as one."""
    before = os.umask(mask)
    try:
        dataset = publish(tmp_path / "data", make_pairs(3)).datasets / "ds-000001"
    finally:
        os.umask(before)

    assert stat.S_IMODE(dataset.stat().st_mode) == 0o777 & ~mask | 0o555
    assert {stat.S_IMODE(path.stat().st_mode) for path in dataset.iterdir()} == {0o444}
    assert stat.S_IMODE(dataset.parent.stat().st_mode) == 0o777 & ~mask


def test_the_next_dataset_begins_where_the_last_one_ended_and_leaves_it_alone(
    tmp_path: Path,
) -> None:
    publish(tmp_path, PAIRS[:10])
    before = snapshot(tmp_path)
    data = publish(tmp_path, PAIRS[10:], first=10)

    second = read_manifest(data.datasets / "ds-000002")
    assert second.parent == "ds-000001"
    assert second.offsets == {"0": OffsetRange(10, len(PAIRS))}
    assert snapshot(tmp_path).items() > before.items()


def test_the_manifest_is_the_last_file_and_one_rename_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    rename, replace, sync = Path.rename, Path.replace, layout.sync_folder

    def record_rename(path: Path, target: Path) -> Path:
        steps.append(f"rename to {target.name} with {sorted(p.name for p in path.iterdir())}")
        return rename(path, target)

    def record_replace(path: Path, target: Path) -> Path:
        steps.append(f"write {target.name}")
        return replace(path, target)

    def record_sync(folder: Path) -> None:
        steps.append(f"sync {folder.name}")
        sync(folder)

    monkeypatch.setattr(Path, "rename", record_rename)
    monkeypatch.setattr(Path, "replace", record_replace)
    for module in (layout, cut):
        monkeypatch.setattr(module, "sync_folder", record_sync)
    publish(tmp_path, PAIRS)

    assert steps[-4:] == [
        "write manifest.json",
        "sync .ds-000001.tmp",
        "rename to ds-000001 with ['eval.jsonl', 'manifest.json', 'train.jsonl']",
        "sync datasets",
    ]


def test_a_folder_without_a_manifest_is_no_dataset_and_is_not_replaced(tmp_path: Path) -> None:
    stray = tmp_path / "datasets" / "ds-000001"
    stray.mkdir(parents=True)
    (stray / "notes").touch()

    assert DataDir(tmp_path).dataset_names() == []
    with pytest.raises(PairstreamError, match=f"{stray} has no manifest: move it"):
        publish(tmp_path, PAIRS)
    assert [path.name for path in stray.iterdir()] == ["notes"]


def test_what_a_killed_trainer_had_begun_to_cut_is_removed(tmp_path: Path) -> None:
    data = publish(tmp_path, PAIRS)
    before = snapshot(tmp_path)
    half = data.datasets / ".ds-000002.tmp"
    half.mkdir()
    (half / "train.jsonl").touch()

    remove_unpublished(data)
    assert [path.name for path in data.datasets.iterdir()] == ["ds-000001"]
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ["train.jsonl", "eval.jsonl"])
def test_a_changed_or_missing_file_is_named(name: str, tmp_path: Path) -> None:
    dataset = publish(tmp_path, PAIRS).datasets / "ds-000001"
    (dataset / name).chmod(0o644)

    with (dataset / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(PairstreamError, match=f"{dataset / name} is not what its manifest says"):
        verify_dataset(dataset)
    (dataset / name).unlink()
    with pytest.raises(PairstreamError, match=f"{dataset / name} cannot be read"):
        verify_dataset(dataset)


@pytest.mark.parametrize("content", [None, b"", b'{"name": "ds-000001"}', b"\xff"])
def test_a_dataset_with_a_damaged_manifest_is_named(content: bytes | None, tmp_path: Path) -> None:
    dataset = tmp_path / "ds-000001"
    dataset.mkdir()
    if content is not None:
        (dataset / "manifest.json").write_bytes(content)

    with pytest.raises(PairstreamError, match=f"{dataset} is no published dataset"):
        read_manifest(dataset)


def test_one_hash_names_both_files(tmp_path: Path) -> None:
    manifest = read_manifest(publish(tmp_path, PAIRS).datasets / "ds-000001")

    both = manifest.files["train.jsonl"].sha256 + manifest.files["eval.jsonl"].sha256
    assert manifest.sha256 == sha256(both.encode())


SEGMENTS = [Segment(0, 0, 9, 1, ""), Segment(0, 10, 19, 1, ""), Segment(1, 0, 4, 1, "")]


def manifest_with(offsets: dict[str, OffsetRange]) -> DatasetManifest:
    return DatasetManifest(
        name="ds-000001", parent=None, created_at=datetime.now(UTC), pairs=0,
        runs=0, rules={}, offsets=offsets, files={}, settings=CutSettings(eval_fraction=0.1),
        source=Source("c", "t", "i", 2),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        (None, SEGMENTS),
        ({}, SEGMENTS),
        ({"0": OffsetRange(0, 10)}, SEGMENTS[1:]),
        ({"0": OffsetRange(0, 20)}, SEGMENTS[2:]),
        ({"0": OffsetRange(20, 20), "1": OffsetRange(0, 5)}, []),
    ],
)
def test_segments_behind_the_newest_datasets_ends_are_uncut(
    offsets: dict[str, OffsetRange] | None, expected: list[Segment]
) -> None:
    parent = None if offsets is None else manifest_with(offsets)
    assert uncut(SEGMENTS, parent) == expected


def test_a_partition_without_news_keeps_its_end() -> None:
    parent = manifest_with({"1": OffsetRange(0, 5), "10": OffsetRange(3, 7)})

    assert cut._offsets(SEGMENTS[:2], parent) == {
        "0": OffsetRange(0, 20), "1": OffsetRange(5, 5), "10": OffsetRange(7, 7)
    }  # fmt: skip
