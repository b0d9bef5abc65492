"""What must hold of a data directory whatever happened to the trainer; it only reads files."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

SEGMENT = re.compile(r"(\d{20})-(\d{20})\.(\d+)\.([0-9a-f]{16})\.jsonl")

Snapshot = dict[str, tuple[int, str]]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def datasets(root: Path) -> list[Path]:
    """Published ones, oldest first."""
    return sorted(path.parent for path in root.glob("datasets/ds-*/manifest.json"))


def manifest(dataset: Path) -> dict[str, Any]:
    return json.loads((dataset / "manifest.json").read_bytes())


def lines(dataset: Path) -> list[bytes]:
    """Of both files."""
    return [
        line
        for name in ("train.jsonl", "eval.jsonl")
        for line in (dataset / name).read_bytes().splitlines(keepends=True)
    ]


def all_lines(root: Path) -> list[bytes]:
    return [line for dataset in datasets(root) for line in lines(dataset)]


def left_out(dataset: Path) -> list[dict[str, Any]]:
    """Its list of candidates that it did not take; empty where there is none."""
    path = dataset / "left-out.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def snapshot(root: Path) -> Snapshot:
    """Mode and hash of every file of every published dataset."""
    return {
        str(path): (path.stat().st_mode, sha256(path.read_bytes()))
        for dataset in datasets(root)
        for path in sorted(dataset.iterdir())
    }


def assert_sound(root: Path, *, ends: dict[int, int]) -> None:
    """Segments without a gap from 0 to the ends, sound datasets, nothing half done."""
    assert_segments(root, ends=ends)
    assert_datasets(root)
    assert not list(root.glob("segments/*/*.tmp"))
    assert not list(root.glob("datasets/.*"))


def assert_segments(root: Path, *, ends: dict[int, int]) -> None:
    for partition, end in ends.items():
        position = 0
        for path in sorted((root / "segments" / str(partition)).glob("*.jsonl")):
            match = SEGMENT.fullmatch(path.name)
            assert match is not None, path
            content = path.read_bytes()
            assert int(match[1]) == position
            assert int(match[3]) == content.count(b"\n")
            assert sha256(content).startswith(match[4])
            position = int(match[2]) + 1
        assert position == end


def assert_datasets(root: Path) -> None:
    """Files as the manifests say, in order, each pair once, each offset in one dataset."""
    found = datasets(root)
    assert [path.name for path in found] == [f"ds-{n:06d}" for n in range(1, len(found) + 1)]
    for path in found:
        assert_dataset(path)
    told = [manifest(path) for path in found]
    assert [one["parent"] for one in told] == [None, *(one["name"] for one in told)][: len(told)]
    for earlier, later in pairwise(told):
        for partition, offsets in earlier["offsets"].items():
            assert later["offsets"][partition]["from"] == offsets["to"]
    ids = [json.loads(line)["pair_id"] for line in all_lines(root)]
    assert len(ids) == len(set(ids))
    assert_left_out(found)


WAITING = {"garbled_share", "agent_share", "task_share"}


def assert_left_out(found: list[Path]) -> None:
    """What is left out for good stands nowhere again; what waits is a candidate of the next one."""
    gone: set[str] = set()
    waiting: set[str] = set()
    for path in found:
        told = manifest(path)
        lists = left_out(path)
        taken = {json.loads(line)["pair_id"] for line in lines(path)}
        listed = {each["pair_id"] for each in lists}
        assert told["waited"] == len(waiting)
        assert not taken & listed
        assert not gone & (taken | listed)
        assert waiting <= taken | listed
        assert told["left_out"] == dict(Counter(each["reason"] for each in lists))
        assert all(each["waits"] == (each["reason"] in WAITING) for each in lists)
        gone |= {each["pair_id"] for each in lists if not each["waits"]}
        waiting = {each["pair_id"] for each in lists if each["waits"]}


def assert_dataset(path: Path) -> None:
    told = manifest(path)
    assert {file.name for file in path.iterdir()} == {"manifest.json", *told["files"]}
    rows = 0
    for name, entry in told["files"].items():
        content = (path / name).read_bytes()
        assert entry == {
            "sha256": sha256(content), "bytes": len(content), "rows": content.count(b"\n")
        }  # fmt: skip
        assert not (path / name).stat().st_mode & 0o222
        ids = [json.loads(line)["pair_id"] for line in content.splitlines()]
        assert ids == sorted(ids)
        rows += len(ids) if name != "left-out.jsonl" else 0
    assert told["pairs"] == rows == sum(told["rules"].values())
    assert_held_out(path, told["settings"])


def assert_held_out(path: Path, settings: dict[str, Any]) -> None:
    """By the hash alone; where it would leave nothing to train on, nothing is held out."""
    fraction, by_task = settings["eval_fraction"], settings["held_out_by"] == "task"

    def key(row: dict[str, Any]) -> str:
        return row["task_id"] if by_task and row["task_id"] is not None else row["run_id"]

    train, held_out = (
        {key(json.loads(line)) for line in (path / name).read_bytes().splitlines()}
        for name in ("train.jsonl", "eval.jsonl")
    )
    wanted = {run for run in train | held_out if is_held_out(run, fraction)}
    assert held_out == (wanted if wanted != train | held_out else set())


def is_held_out(run_id: str, fraction: float) -> bool:
    return int(sha256(run_id.encode())[:16], 16) < fraction * 16**16


def spread(items: Iterable[bytes], partitions: int) -> list[tuple[int, int, bytes]]:
    """Partition, offset, value: as a topic would hold them, one after another."""
    return [(n % partitions, n // partitions, item) for n, item in enumerate(items)]
