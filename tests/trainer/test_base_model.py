"""Where the base model is, and what is said when it is not there."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from schemas.errors import PairstreamError
from schemas.settings import TrainingSettings
from trainer.base_model import base_model_of, resolve_base_model


def test_a_folder_with_a_model_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "small").mkdir(parents=True)
    (tmp_path / "models" / "small" / "config.json").touch()
    monkeypatch.chdir(tmp_path)

    assert resolve_base_model("models/small") == tmp_path / "models" / "small"
    assert resolve_base_model(str(tmp_path / "models" / "small")).is_absolute()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (None, "no base model is set: set PAIRSTREAM_BASE_MODEL"),
        ("empty", "empty is no transformers model, it has no config.json: name a folder"),
        ("./absent", "the base model ./absent is not there"),
        ("/absent", "the base model /absent is not there"),
        ("~/absent", "the base model ~/absent is not there"),
        ("absent", "the base model absent is not there"),
        ("a/b/c", "the base model a/b/c is not there"),
    ],
)
def test_what_is_no_model_is_refused_with_what_to_set(
    name: str | None, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(PairstreamError) as refused:
        resolve_base_model(name)
    assert what in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_hub_name_is_fetched_without_pickles_and_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub's cache holds links: a container that is given the snapshot alone could not follow."""
    asked: list[tuple[str, list[str]]] = []
    blob, snapshot = tmp_path / "blobs" / "abc", tmp_path / "snapshots" / "rev"
    blob.parent.mkdir()
    blob.write_text("{}")
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/abc")

    def snapshot_download(name: str, *, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(snapshot)

    hub = ModuleType("huggingface_hub")
    hub.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)

    found = resolve_base_model("org/small")
    assert resolve_base_model("org/small") == found
    assert not (found / "config.json").is_symlink()
    assert (found / "config.json").read_text() == "{}"
    name, patterns = asked[0]
    assert name == "org/small"
    assert "*.safetensors" in patterns
    assert not any(pattern.endswith((".bin", ".pt", ".pkl", "*")) for pattern in patterns)


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(name: str, **_: object) -> str:
        raise ConnectionError("a page\nof text")

    hub = ModuleType("huggingface_hub")
    hub.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)

    with pytest.raises(PairstreamError, match=r"here.*\(ConnectionError\): name a folder$"):
        resolve_base_model("org/small")


def test_without_the_hubs_client_a_folder_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)

    with pytest.raises(PairstreamError, match="pip install huggingface_hub, or name a folder"):
        resolve_base_model("org/small")


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "old.ckpt"]
)
def test_weights_in_a_pickle_alone_are_refused_with_the_way_to_convert_them(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").touch()
    (tmp_path / name).touch()

    with pytest.raises(
        PairstreamError, match=rf"a pickle \({name}\) alone.*: python -c "
    ) as refused:
        resolve_base_model(str(tmp_path))
    assert "\n" not in str(refused.value)

    (tmp_path / "model.safetensors").touch()
    assert resolve_base_model(str(tmp_path)) == tmp_path


def cached_snapshot(hub: Path) -> Path:
    """As the client of a hub lays it down: links into a folder of contents."""
    blobs, snapshot = hub / "models--org--small" / "blobs", hub / "models--org--small" / "snapshots"
    blobs.mkdir(parents=True)
    (snapshot / "rev").mkdir(parents=True)
    for name, content in (("config.json", "{}"), ("model.safetensors", "weights")):
        (blobs / f"hash-of-{name}").write_text(content)
        (snapshot / "rev" / name).symlink_to(f"../../blobs/hash-of-{name}")
    return snapshot / "rev"


@pytest.mark.parametrize("links", [True, False])
def test_a_container_is_given_the_files_of_a_hubs_cache_and_not_its_links(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = cached_snapshot(tmp_path)
    if not links:

        def refuse(self: Path, target: Path) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
    settings = TrainingSettings(launcher="docker", base_model=str(snapshot))

    for _ in range(2):
        found = base_model_of(settings)
        assert {path.name: path.read_text() for path in found.iterdir()} == {
            "config.json": "{}", "model.safetensors": "weights",
        }  # fmt: skip
        assert not any(path.is_symlink() for path in found.iterdir())
    same = (found / "model.safetensors").samefile(snapshot / "model.safetensors")
    assert same is links


def test_a_process_follows_the_links_of_its_base_model(tmp_path: Path) -> None:
    snapshot = cached_snapshot(tmp_path)
    settings = TrainingSettings(launcher="process", base_model=str(snapshot))

    assert base_model_of(settings) == snapshot


def test_links_that_a_container_cannot_follow_are_refused_with_the_way_to_copy_them(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    (tmp_path / "elsewhere.json").touch()
    (folder / "config.json").symlink_to("../elsewhere.json")
    settings = TrainingSettings(launcher="docker", base_model=str(folder))

    with pytest.raises(PairstreamError, match=r"config\.json is a link out of its fol") as refused:
        base_model_of(settings)
    assert f"cp -rL '{folder}' '{folder}-copy'" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_links_inside_a_base_model_and_to_it_do_no_harm(tmp_path: Path) -> None:
    folder, named = tmp_path / "v2", tmp_path / "newest"
    folder.mkdir()
    (folder / "config-v2.json").touch()
    (folder / "config.json").symlink_to("config-v2.json")
    named.symlink_to("v2")
    settings = TrainingSettings(launcher="docker", base_model=str(named))

    assert base_model_of(settings) == named
