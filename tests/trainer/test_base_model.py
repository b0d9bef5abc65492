"""Where the base model is, and what is said when it is not there."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from schemas.errors import PairstreamError
from trainer.base_model import resolve_base_model


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
        ("empty", "empty is no transformers model: it has no config.json"),
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
