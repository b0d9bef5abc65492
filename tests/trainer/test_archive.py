"""Archives: the same files give the same bytes, and unpack nowhere but where they should."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.trainer.invariants import sha256
from trainer.archive import archive, checksum_file, files_in

NAMES = ("adapter", "metrics.jsonl", "absent.json")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "dpo-ds-000001"
    (folder / "adapter" / "deep").mkdir(parents=True)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(os.urandom(1000))
    (folder / "adapter" / "deep" / "größe.json").write_text("{}")
    (folder / "metrics.jsonl").write_text("{}\n")
    (folder / "secret").write_text("not named")
    return folder


def test_an_archive_holds_what_was_named_below_one_folder(model: Path, tmp_path: Path) -> None:
    archive(model, NAMES, tmp_path / "a.tar.gz")

    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        tar.extractall(tmp_path / "out", filter="data")
        assert all(member.isreg() for member in tar.getmembers())
    found = {
        str(path.relative_to(tmp_path / "out")): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    names = ("adapter/adapter_model.safetensors", "adapter/deep/größe.json", "metrics.jsonl")
    assert found == {f"{model.name}/{name}": (model / name).read_bytes() for name in names}


def test_the_same_files_give_the_same_bytes(model: Path, tmp_path: Path) -> None:
    first = archive(model, NAMES, tmp_path / "a.tar.gz")
    for path in model.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    second = archive(model, tuple(reversed(NAMES)), tmp_path / "elsewhere.tar.gz")

    assert first == second
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "elsewhere.tar.gz").read_bytes()


@pytest.mark.parametrize("name", ["adapter/adapter_model.safetensors", "metrics.jsonl"])
def test_another_content_gives_other_bytes(name: str, model: Path, tmp_path: Path) -> None:
    first = archive(model, NAMES, tmp_path / "a.tar.gz")
    (model / name).write_bytes(b"other")

    assert archive(model, NAMES, tmp_path / "b.tar.gz") != first


def test_the_checksum_is_one_that_sha256sum_reads(model: Path, tmp_path: Path) -> None:
    digest = archive(model, NAMES, tmp_path / "a.tar.gz")

    assert digest == sha256((tmp_path / "a.tar.gz").read_bytes())
    assert checksum_file(tmp_path / "a.tar.gz").read_text() == f"{digest}  a.tar.gz\n"
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", "a.tar.gz.sha256"], cwd=tmp_path, check=True)


def test_links_are_left_out_wherever_they_lead(model: Path, tmp_path: Path) -> None:
    before = files_in(model, NAMES)
    (model / "adapter" / "passwords").symlink_to("/etc/passwd")
    (model / "adapter" / "all").symlink_to("/etc")
    (model / "absent.json").symlink_to(model / "secret")

    assert files_in(model, NAMES) == before


def test_a_folder_that_is_a_link_is_no_folder_of_the_model(model: Path, tmp_path: Path) -> None:
    (model / "adapter").rename(tmp_path / "elsewhere")
    (model / "adapter").symlink_to(tmp_path / "elsewhere")

    assert files_in(model, NAMES) == [model / "metrics.jsonl"]


def test_an_archive_is_replaced_as_a_whole(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    target.write_bytes(b"half of an archive")
    (tmp_path / ".a.tar.gz.tmp").write_bytes(b"a killed trainer's")
    digest = archive(model, NAMES, target)

    assert sha256(target.read_bytes()) == digest
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "a.tar.gz", "a.tar.gz.sha256"
    }  # fmt: skip
