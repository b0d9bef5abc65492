"""`pairstream models merge`, with a stand-in for the interpreter that has the packages."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pairstream import merging
from pairstream.__main__ import cli
from pairstream.merging import merging_python
from schemas.errors import PairstreamError
from schemas.settings import TrainingSettings
from tests.commands.test_models import FIRST, make_model
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import make_base_model, publish
from trainer.layout import DataDir
from trainer.training_manifest import TrainingManifest, read_training

WRITES = """#!/bin/sh
while [ "$1" != --output ]; do shift; done
mkdir "$2"; echo weights > "$2/model.safetensors"
"""


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    data = publish(tmp_path / "data", make_pairs(24))
    make_model(data, FIRST, None, days=0)
    return data


def interpreter(path: Path, script: str) -> str:
    path.write_text(script)
    path.chmod(0o755)
    return str(path)


def merge(data: DataDir, tmp_path: Path, python: str) -> Result:
    base = tmp_path / "base"
    if not base.exists():
        make_base_model(base)
    words = ["models", "merge", "latest", "--out", str(tmp_path / "whole"), "--base-model",
             str(base), "--training-python", python, "--data-dir", str(data.root)]  # fmt: skip
    return CliRunner().invoke(cli, words)


def test_a_merged_model_says_what_it_is_and_is_never_overwritten(
    data: DataDir, tmp_path: Path
) -> None:
    python = interpreter(tmp_path / "python", WRITES)

    done = merge(data, tmp_path, python)

    assert done.exit_code == 0, done.exception
    assert done.output == f"{FIRST} merged into base: {tmp_path / 'whole'}\n"
    assert {path.name for path in (tmp_path / "whole").iterdir()} == {
        "manifest.json", "model.safetensors"
    }  # fmt: skip
    again = merge(data, tmp_path, python)
    assert "is there already" in str(again.exception)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo noise >&2; echo 'train_dpo: the base is bad' >&2; exit 10", "the base is bad"),
        ("mkdir -p x; exit 3", "exit code 3"),
        ("printf 'odd \\033[1m' >&2; exit 1", "odd "),
    ],
)
def test_a_merge_that_fails_says_why_and_leaves_nothing(
    script: str, words: str, data: DataDir, tmp_path: Path
) -> None:
    done = merge(data, tmp_path, interpreter(tmp_path / "python", f"#!/bin/sh\n{script}\n"))

    assert isinstance(done.exception, PairstreamError)
    assert f"it cannot be merged: {words}" in str(done.exception)
    assert "\033" not in str(done.exception)
    assert not list(tmp_path.glob("*whole*"))


def test_the_interpreter_is_the_one_that_is_set_or_was_trained_with(
    data: DataDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_training(data.models / FIRST)
    assert manifest is not None

    def chosen(settings: TrainingSettings, **changes: str) -> str:
        fields = {name: getattr(manifest, name) for name in manifest.__struct_fields__}
        return merging_python(data, TrainingManifest(**{**fields, **changes}), settings)

    usual = TrainingSettings()
    made = data.training_venv / "bin" / "python"
    own = interpreter(tmp_path / "own", "")
    assert chosen(TrainingSettings(training_python="mine"), image=own) == "mine"
    assert chosen(usual, launcher="process", image=own) == own

    monkeypatch.setattr(merging.importlib.util, "find_spec", lambda _: object())  # type: ignore[attr-defined]
    assert chosen(usual, launcher="docker", image=own) == sys.executable
    made.parent.mkdir(parents=True)
    made.touch()
    assert chosen(usual, launcher="process", image="gone") == str(made)
    made.unlink()
    monkeypatch.setattr(merging.importlib.util, "find_spec", lambda _: None)  # type: ignore[attr-defined]
    with pytest.raises(PairstreamError, match="name one with --training-python"):
        chosen(usual, launcher="docker")
