"""The training image's build context: what is in it decides its tag, and it builds by hand."""

import io
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from schemas.errors import PairstreamError
from trainer.image import BuildContext, kept_context, training_context

REPOSITORY = Path(__file__).parents[2]
FILES = {
    "Dockerfile": b"FROM scratch\n",
    "requirements.txt": b"a==1\n",
    "train_dpo/a.py": b"pass\n",
}


def test_the_same_files_give_the_same_tag_whatever_their_order() -> None:
    context = BuildContext(FILES)

    assert re.fullmatch(r"pairstream-training:[0-9a-f]{12}", context.tag)
    assert BuildContext(dict(reversed(FILES.items()))).tar() == context.tar()
    assert BuildContext(dict(reversed(FILES.items()))).tag == context.tag


@pytest.mark.parametrize("name", FILES)
def test_a_change_of_any_file_or_name_changes_the_tag(name: str) -> None:
    changed = BuildContext({**FILES, name: FILES[name] + b"#"})
    renamed = BuildContext({(key + "2" if key == name else key): FILES[key] for key in FILES})
    added = BuildContext({**FILES, "more": b""})

    tags = {context.tag for context in (BuildContext(FILES), changed, renamed, added)}
    assert len(tags) == 4


def test_the_tar_is_plain_files_and_folders_without_times_and_owners() -> None:
    with tarfile.open(fileobj=io.BytesIO(BuildContext(FILES).tar())) as tar:
        members = tar.getmembers()
        files = [member for member in members if member.isfile()]
        assert {m.name: tar.extractfile(m).read() for m in files} == FILES
    assert [member.name for member in members if member.isdir()] == ["train_dpo"]
    assert {(m.mtime, m.uid, m.gid, m.mode, m.type) for m in members} == {
        (0, 0, 0, 0o644, tarfile.REGTYPE),
        (0, 0, 0, 0o755, tarfile.DIRTYPE),
    }


def test_the_checkouts_own_recipe_is_what_is_trained_with() -> None:
    context = training_context()

    recipe = REPOSITORY / "docker" / "training"
    script = REPOSITORY / "trainer" / "train_dpo"
    assert context.files == {
        "Dockerfile": (recipe / "Dockerfile").read_bytes(),
        "requirements.txt": (recipe / "requirements.txt").read_bytes(),
        **{f"train_dpo/{module.name}": module.read_bytes() for module in script.glob("*.py")},
    }


def test_what_stands_in_its_place_is_removed_and_no_link_is_followed(tmp_path: Path) -> None:
    """A training may leave it in its folder, where the next start writes."""
    context, elsewhere = BuildContext(FILES), tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = tmp_path / "context"
    folder.symlink_to(elsewhere)
    context.write(folder)
    shutil.rmtree(folder / "train_dpo")
    (folder / "train_dpo").symlink_to(elsewhere)
    (folder / "Dockerfile").unlink()
    (folder / "Dockerfile").symlink_to(elsewhere / "Dockerfile")
    (folder / ".requirements.txt.tmp").symlink_to(elsewhere / "temporary")
    context.write(folder)
    shutil.rmtree(folder)
    folder.write_text("")
    context.write(folder)

    assert list(elsewhere.iterdir()) == []
    assert not folder.is_symlink()
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES


def test_a_kept_context_is_what_was_written_or_none(tmp_path: Path) -> None:
    context = BuildContext(FILES)
    context.write(tmp_path)

    assert kept_context(tmp_path, context.tag) == context
    with pytest.raises(PairstreamError, match="the kept script was changed"):
        kept_context(tmp_path, "pairstream-training:0123456789ab")
    (tmp_path / "Dockerfile").rename(tmp_path / "elsewhere")
    assert kept_context(tmp_path, context.tag) is None
    (tmp_path / "Dockerfile").symlink_to(tmp_path / "elsewhere")
    assert kept_context(tmp_path, context.tag) is None


def test_the_written_folder_builds_by_hand(tmp_path: Path) -> None:
    context = training_context()
    context.write(tmp_path / "context")
    context.write(tmp_path / "context")

    folder = tmp_path / "context"
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == {*context.files, "image.env"}
    for name, content in context.files.items():
        assert (folder / name).read_bytes() == content
    copied = re.findall(r"^COPY (\S+) ", (folder / "Dockerfile").read_text(), re.MULTILINE)
    assert copied
    assert all((folder / name).exists() for name in copied)
    variables = dict(each.split("=", 1) for each in (folder / "image.env").read_text().splitlines())
    assert variables == {
        "PAIRSTREAM_TRAINING_IMAGE": context.tag,
        "PAIRSTREAM_TRAINING_IMAGE_HASH": context.hash,
        "PAIRSTREAM_TRAINING_IMAGE_LABEL": f"pairstream.training-image={context.hash}",
    }
