"""`pairstream verify` names what was damaged in the data directory, and nothing else."""

import hashlib
import shutil
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tests.verify.healthy import TRAINING, WEIGHTS, Damageable, findings, live_through
from trainer.archive import checksum_file
from trainer.datasets import EVAL, TRAIN, FileEntry, OffsetRange, read_manifest
from trainer.latest import change_by_user
from trainer.layout import MANIFEST, DataDir
from trainer.publishing import archive_of
from trainer.source import Loss, read_source
from trainer.training_manifest import read_training, write_training
from trainer.verdict import Check, Verdict

FIRST, SECOND = "ds-000001", "ds-000002"

# What a damage gives: the id and the place that must be named.
Named = tuple[str | None, str]
Damage = Callable[[DataDir], Named]


@pytest.fixture(scope="module")
def healthy(embedded_broker: str, tmp_path_factory: pytest.TempPathFactory) -> Damageable:
    """Never changed: each test damages a copy of its data directory."""
    folder = tmp_path_factory.mktemp("healthy") / "data"
    made = Damageable(embedded_broker, f"t{uuid.uuid4().hex[:10]}.", folder)
    live_through(made)
    return made


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def id_of(line: bytes) -> str:
    pair_id: str = msgspec.json.decode(line)["pair_id"]
    return pair_id


def write(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def publish(folder: Path, train: list[bytes], held_out: list[bytes] | None = None) -> None:
    """Write other lines, with a manifest that is true of them."""
    files = {TRAIN: train, EVAL: held_out or []}
    for name, lines in files.items():
        write(folder / name, b"".join(lines))
    rows = [msgspec.json.decode(line) for lines in files.values() for line in lines]
    entries = {
        name: FileEntry(
            hashlib.sha256(b"".join(lines)).hexdigest(), len(b"".join(lines)), len(lines)
        )
        for name, lines in files.items()
    }
    manifest = replace(
        read_manifest(folder),
        files=entries,
        pairs=len(rows),
        runs=len({row["run_id"] for row in rows}),
        rules=dict(Counter(row["rule"] for row in rows)),
    )
    write(folder / MANIFEST, msgspec.json.encode(manifest))


def edit_manifest(folder: Path, **changes: object) -> None:
    write(folder / MANIFEST, msgspec.json.encode(replace(read_manifest(folder), **changes)))


def segments(data: DataDir) -> list[Path]:
    """Those that stand in a dataset and have rows, then those that wait."""
    position = {int(p): o.to for p, o in read_manifest(data.datasets / SECOND).offsets.items()}
    paths = [path for path in data.segments.glob("*/*.jsonl") if path.stat().st_size]
    return sorted(paths, key=lambda p: (int(p.name[:20]) >= position.get(int(p.parent.name), 0), p))


def rename(segment: Path, lines: list[bytes]) -> Path:
    """Write other lines, under a name that is true of them."""
    digest = hashlib.sha256(b"".join(lines)).hexdigest()[:16]
    range_ = segment.name.partition(".")[0]
    segment.write_bytes(b"".join(lines))
    return segment.rename(segment.with_name(f"{range_}.{len(lines)}.{digest}.jsonl"))


# --- Files that are not what they say ------------------------------------------------------------


def a_byte_of_a_dataset_changed(data: DataDir) -> Named:
    path = data.datasets / FIRST / TRAIN
    write(path, path.read_bytes().replace(b"free(", b"Free(", 1))
    return FIRST, str(path)


def the_last_newline_lost(data: DataDir) -> Named:
    folder = data.datasets / SECOND
    lines = lines_of(folder / TRAIN)
    publish(folder, [*lines[:-1], lines[-1].rstrip(b"\n")])
    return SECOND, str(folder / TRAIN)


def lines_in_another_order(data: DataDir) -> Named:
    folder = data.datasets / SECOND
    first, second, *others = lines_of(folder / TRAIN)
    publish(folder, [second, first, *others])
    return id_of(first), str(folder / TRAIN)


def a_wrong_count_in_the_manifest(data: DataDir) -> Named:
    folder = data.datasets / FIRST
    edit_manifest(folder, runs=17)
    return FIRST, str(folder / MANIFEST)


def a_wrong_hash_in_the_manifest(data: DataDir) -> Named:
    folder = data.datasets / SECOND
    files = read_manifest(folder).files
    edit_manifest(folder, files={**files, EVAL: replace(files[EVAL], sha256="0" * 64)})
    return SECOND, str(folder / EVAL)


def a_byte_of_a_segment_changed(data: DataDir) -> Named:
    path = segments(data)[0]
    write(path, path.read_bytes().replace(b"free(", b"Free(", 1))
    return None, str(path)


def a_file_that_is_no_segment(data: DataDir) -> Named:
    path = data.segments / "0" / "copy.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.touch()
    return None, str(path)


# --- Offsets that do not go on -------------------------------------------------------------------


def a_segment_of_a_dataset_lost(data: DataDir) -> Named:
    segments(data)[0].unlink()
    return None, ""


def an_offset_in_two_segments(data: DataDir) -> Named:
    path = segments(data)[-1]
    first = int(path.name[:20]) - 1
    return None, str(path.rename(path.with_name(f"{first:020d}{path.name[20:]}")))


def a_dataset_lost(data: DataDir) -> Named:
    shutil.rmtree(data.datasets / FIRST)
    return SECOND, ""


def a_dataset_that_begins_later(data: DataDir) -> Named:
    folder = data.datasets / SECOND
    offsets = read_manifest(folder).offsets
    key = next(iter(read_manifest(data.datasets / FIRST).offsets))
    later = OffsetRange(offsets[key].from_ + 1, offsets[key].to)
    edit_manifest(folder, offsets={**offsets, key: later})
    return SECOND, ""


# --- Pairs that stand nowhere, or twice ----------------------------------------------------------


def a_pair_in_two_datasets(data: DataDir) -> Named:
    line = lines_of(data.datasets / FIRST / TRAIN)[0]
    folder = data.datasets / SECOND
    publish(folder, sorted([*lines_of(folder / TRAIN), line]))
    return id_of(line), str(folder / TRAIN)


def a_pair_lost_from_a_dataset(data: DataDir) -> Named:
    folder = data.datasets / SECOND
    lost, *others = lines_of(folder / TRAIN)
    publish(folder, others)
    return id_of(lost), str(next(p for p in segments(data) if lost in lines_of(p)))


def a_foreign_pair_in_a_dataset(data: DataDir) -> Named:
    folder = data.datasets / SECOND
    lines = lines_of(folder / TRAIN)
    foreign = lines[0].replace(id_of(lines[0]).encode(), b"0" * 32)
    publish(folder, sorted([*lines, foreign]))
    return "0" * 32, SECOND


def a_pair_lost_from_a_segment(data: DataDir) -> Named:
    path = segments(data)[-1]
    lost, *others = lines_of(path)
    rename(path, others)
    return id_of(lost), "pairs.v1/"


def a_pair_in_two_segments(data: DataDir) -> Named:
    *_, path = segments(data)
    other = next(p for p in segments(data)[:-1] if p.parent == path.parent)
    again = lines_of(other)[0]
    return id_of(again), str(rename(path, [*lines_of(path), again]))


def a_pair_in_a_segment_that_the_topic_has_not(data: DataDir) -> Named:
    path = segments(data)[-1]
    foreign = lines_of(path)[0].replace(id_of(lines_of(path)[0]).encode(), b"0" * 32)
    return "0" * 32, str(rename(path, [*lines_of(path), foreign]))


# --- Lines that a rebuild would not give ---------------------------------------------------------


def another_text_in_a_dataset(data: DataDir) -> Named:
    folder = data.datasets / SECOND
    first, *others = lines_of(folder / TRAIN)
    publish(folder, [first.replace(b'"assistant"', b'"Assistant"'), *others])
    return id_of(first), str(next(p for p in segments(data) if first in lines_of(p)))


def another_text_in_a_segment(data: DataDir) -> Named:
    path = segments(data)[-1]
    first, *others = lines_of(path)
    changed = first.replace(b'"assistant"', b'"Assistant"')
    return id_of(first), str(rename(path, [changed, *others]))


def a_run_on_the_wrong_side(data: DataDir) -> Named:
    folder = data.datasets / SECOND
    first, *others = lines_of(folder / TRAIN)
    publish(folder, others, [first])
    return SECOND, ""


# --- Models ---------------------------------------------------------------------------------------


def flip_a_byte(path: Path, at: int = 0) -> Path:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x80
    write(path, bytes(content))
    return path


def a_byte_of_an_adapter_changed(data: DataDir) -> Named:
    return TRAINING, str(flip_a_byte(data.models / TRAINING / WEIGHTS))


def an_adapter_lost(data: DataDir) -> Named:
    path = data.models / TRAINING / WEIGHTS
    path.unlink()
    return TRAINING, str(path)


def an_adapter_that_is_a_link(data: DataDir) -> Named:
    path = data.models / TRAINING / WEIGHTS
    path.symlink_to(path.rename(path.with_name("moved")))
    return TRAINING, str(path)


def a_byte_of_an_archive_changed(data: DataDir) -> Named:
    return TRAINING, str(flip_a_byte(archive_of(data.models, TRAINING), at=-1))


def an_archive_lost(data: DataDir) -> Named:
    path = archive_of(data.models, TRAINING)
    path.unlink()
    return TRAINING, str(path)


def a_byte_of_a_checksum_changed(data: DataDir) -> Named:
    path = archive_of(data.models, TRAINING)
    flip_a_byte(checksum_file(path))
    return TRAINING, str(path)


def test_an_archive_without_its_checksum_is_not_complete_yet(
    healthy: Damageable, tmp_path: Path
) -> None:
    data = DataDir(tmp_path / "data")
    shutil.copytree(healthy.data.root, data.root, symlinks=True)
    path = flip_a_byte(archive_of(data.models, TRAINING))
    checksum_file(path).unlink()

    assert findings(healthy.verify("--data-dir", data.root)) == {}


# --- Trainings -----------------------------------------------------------------------------------


def a_training_on_other_bytes(data: DataDir) -> Named:
    folder = data.models / TRAINING
    training = read_training(folder)
    assert training is not None
    write_training(folder, replace(training, dataset_sha256={TRAIN: "0" * 64, EVAL: "0" * 64}))
    return TRAINING, str(folder)


def a_latest_that_its_gate_refused(data: DataDir) -> Named:
    training = read_training(data.models / TRAINING)
    assert training is not None
    refused = Verdict(passed=False, checks=[Check(name="margin", passed=False)])
    write_training(data.models / TRAINING, replace(training, gate=refused))
    return TRAINING, str(data.models / "latest")


def a_latest_that_failed(data: DataDir) -> Named:
    training = read_training(data.models / TRAINING)
    assert training is not None
    write_training(data.models / TRAINING, replace(training, exit_code=13))
    return TRAINING, str(data.models / "latest")


def a_latest_that_is_gone(data: DataDir) -> Named:
    (data.models / "latest").unlink()
    (data.models / "latest").symlink_to("dpo-gone")
    return "dpo-gone", str(data.models / "latest")


def a_damaged_history(data: DataDir) -> Named:
    (data.models / "history.jsonl").write_text("{")
    return TRAINING, str(data.models / "latest")


def test_a_person_may_make_latest_what_the_gate_refused(
    healthy: Damageable, tmp_path: Path
) -> None:
    data = DataDir(tmp_path / "data")
    shutil.copytree(healthy.data.root, data.root, symlinks=True)
    a_latest_that_its_gate_refused(data)
    (data.models / "latest").unlink()
    change_by_user(data.models, TRAINING, "promoted", "it is better on my tasks")

    assert findings(healthy.verify("--data-dir", data.root)) == {}


DAMAGES: list[tuple[Damage, str]] = [
    (a_byte_of_a_dataset_changed, "files"),
    (the_last_newline_lost, "files"),
    (lines_in_another_order, "files"),
    (a_wrong_count_in_the_manifest, "files"),
    (a_wrong_hash_in_the_manifest, "files"),
    (a_byte_of_a_segment_changed, "files"),
    (a_file_that_is_no_segment, "files"),
    (a_byte_of_an_adapter_changed, "files"),
    (an_adapter_lost, "files"),
    (an_adapter_that_is_a_link, "files"),
    (a_byte_of_an_archive_changed, "files"),
    (an_archive_lost, "files"),
    (a_byte_of_a_checksum_changed, "files"),
    (a_segment_of_a_dataset_lost, "coverage"),
    (an_offset_in_two_segments, "coverage"),
    (a_dataset_lost, "positions"),
    (a_dataset_that_begins_later, "positions"),
    (a_pair_in_two_datasets, "once"),
    (a_pair_lost_from_a_dataset, "once"),
    (a_foreign_pair_in_a_dataset, "once"),
    (a_pair_lost_from_a_segment, "once"),
    (a_pair_in_two_segments, "once"),
    (a_pair_in_a_segment_that_the_topic_has_not, "once"),
    (another_text_in_a_dataset, "rebuild"),
    (another_text_in_a_segment, "rebuild"),
    (a_run_on_the_wrong_side, "rebuild"),
    (a_training_on_other_bytes, "trainings"),
    (a_latest_that_its_gate_refused, "trainings"),
    (a_latest_that_failed, "trainings"),
    (a_latest_that_is_gone, "trainings"),
    (a_damaged_history, "trainings"),
]


@pytest.mark.parametrize(
    ("damage", "check"), DAMAGES, ids=lambda value: getattr(value, "__name__", value)
)
def test_damage_is_named_with_its_place(
    healthy: Damageable, tmp_path: Path, damage: Damage, check: str
) -> None:
    assert_named(healthy, DataDir(tmp_path / "data"), damage, check)


def assert_named(healthy: Damageable, data: DataDir, damage: Damage, check: str) -> None:
    """Damage a copy, of which `verify` then says that and nothing else."""
    shutil.copytree(healthy.data.root, data.root, symlinks=True)
    named, at = damage(data)

    found = findings(healthy.verify("--data-dir", data.root))

    assert list(found) == [check]
    [finding] = found[check]
    assert finding["id"] == named
    assert at in (finding["at"] or "")


def test_an_accepted_loss_is_told_and_must_be_covered(healthy: Damageable, tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    shutil.copytree(healthy.data.root, data.root, symlinks=True)
    known = read_source(data)
    partition, position = next(iter(positions_of(data).items()))
    for last, holds in ((position - 1, True), (position, False)):
        loss = Loss(partition, last, last, datetime.now(UTC))
        data.source.write_bytes(msgspec.json.encode(replace(known, losses=[loss])))
        report = healthy.verify("--data-dir", data.root)
        [coverage] = [check for check in report["checks"] if check["check"] == "coverage"]

        assert f"offsets {last} to {last} of partition {partition}" in coverage["note"]
        assert (coverage["state"] == "holds") == holds


def positions_of(data: DataDir) -> dict[int, int]:
    """What follows the last offset of each partition's segments."""
    paths = sorted(data.segments.glob("*/*.jsonl"))
    return {int(path.parent.name): int(path.name[21:41]) + 1 for path in paths}


def test_a_directory_of_another_topic_is_not_held_against_this_one(
    healthy: Damageable, tmp_path: Path
) -> None:
    data = DataDir(tmp_path / "data")
    shutil.copytree(healthy.data.root, data.root, symlinks=True)
    data.source.write_bytes(data.source.read_bytes().replace(b".pairs.", b".other."))
    states = _states(healthy, data)

    assert {name for name, state in states.items() if state == "not_checked"} == {
        "acknowledged", "once", "coverage", "rebuild"
    }  # fmt: skip
    assert _states(healthy, DataDir(tmp_path / "none"))["once"] == "not_checked"


def _states(deployment: Damageable, data: DataDir) -> dict[str, str]:
    report = deployment.verify("--data-dir", data.root)
    return {check["check"]: check["state"] for check in report["checks"]}
