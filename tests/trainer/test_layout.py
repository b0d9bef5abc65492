"""The data directory's names, and writing whole files."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainer.left_in_place import secret_link
from trainer.layout import DataDir, make_folder, open_no_link, write_durably


def with_datasets(root: Path, *names: str) -> DataDir:
    for name in names:
        (root / "datasets" / name).mkdir(parents=True)
        (root / "datasets" / name / "manifest.json").touch()
    return DataDir(root)


@pytest.mark.parametrize(
    ("names", "found", "following"),
    [
        ((), [], "ds-000001"),
        (("ds-000001",), ["ds-000001"], "ds-000002"),
        (("ds-000010", "ds-000009"), ["ds-000009", "ds-000010"], "ds-000011"),
        (("ds-999999", "ds-1000000"), ["ds-999999", "ds-1000000"], "ds-1000001"),
        (("ds-000001", "ds-old", "ds-2", ".ds-000002.tmp"), ["ds-000001"], "ds-000002"),
    ],
)
def test_datasets_are_numbered_and_other_folders_left_out(
    names: tuple[str, ...], found: list[str], following: str, tmp_path: Path
) -> None:
    data = with_datasets(tmp_path, *names)

    assert data.dataset_names() == found
    assert data.next_dataset_name() == following


def test_everything_lies_in_the_data_directory_by_the_contracts_names(tmp_path: Path) -> None:
    data = DataDir(tmp_path)

    assert (data.datasets, data.models) == (tmp_path / "datasets", tmp_path / "models")
    for path in (data.lock, data.source, data.segments, data.index, data.training_venv):
        assert path.parent == tmp_path


def test_a_file_is_written_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old" * 1000)
    write_durably(path, b"new")

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")

    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.layout.os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"


def test_folders_are_made_with_those_above_them(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")

    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_link_in_the_way_of_a_write_leads_nowhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"as it was")
    for name in ("file", ".file.tmp"):
        (tmp_path / name).symlink_to(victim)

    write_durably(tmp_path / "file", b"written")

    assert victim.read_bytes() == b"as it was"
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"written"


@pytest.mark.parametrize("place", [secret_link, os.mkfifo])
def test_what_is_written_goes_through_no_link_and_waits_at_no_pipe(
    place: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "training.log"
    place(path)
    before = {file: file.read_text() for file in tmp_path.glob("secret")}

    with open_no_link(path, "ab") as file:
        file.write(b"ours")

    assert path.read_text() == "ours"
    assert {file: file.read_text() for file in before} == before
