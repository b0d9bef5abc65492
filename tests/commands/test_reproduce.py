"""`pairstream reproduce` around a stand-in for the script: what is run again and is told."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from pairstream import train_now
from pairstream.__main__ import cli
from pairstream.training_diff import WEIGHTS
from schemas.errors import PairstreamError
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import make_base_model, publish, stand_in_context
from trainer import training
from trainer.image import SCRIPT, BuildContext
from trainer.latest import LATEST
from trainer.layout import DataDir
from trainer.training_manifest import TrainingManifest, read_training

pytestmark = pytest.mark.long

TRAINING = "dpo-ds-000001"


class Shop:
    """A data directory, and commands on it by the process launcher."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = DataDir(root / "data")
        self.base = make_base_model(root / "base")
        publish(self.data.root, make_pairs(6))

    @property
    def folder(self) -> Path:
        return self.data.models / TRAINING

    @property
    def starts(self) -> list[str]:
        """One line for each start of the script, and one for each end."""
        return (self.root / "starts").read_text().splitlines()

    def train(self, *flags: str) -> None:
        dataset = self.data.datasets / "ds-000001"
        done = self.invoke("train", str(dataset), "--launcher", "process", "--base-model",
                           str(self.base), "--training-args",
                           f"--beta 0.2 --starts {self.root / 'starts'}", *flags)  # fmt: skip
        assert done.exit_code == 0, done.output

    def reproduce(self, *flags: str, training: str = TRAINING) -> tuple[dict[str, Any], str]:
        """The comparison, and what it ended with: "" for exit code 0."""
        done = self.invoke("reproduce", training, "--json", *flags)
        return json.loads(done.stdout), str(done.exception or "")

    def fails(self, *flags: str, training: str = TRAINING) -> str:
        done = self.invoke("reproduce", training, *flags)
        assert isinstance(done.exception, PairstreamError), done.output
        assert "\n" not in str(done.exception)
        return str(done.exception)

    def invoke(self, *words: str) -> Any:
        flags = ("--data-dir", str(self.data.root), "--training-python", sys.executable)
        nobody = {"PAIRSTREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
        return CliRunner().invoke(cli, [*words, *flags], env=nobody)

    def manifest(self, folder: Path) -> TrainingManifest:
        found = read_training(folder)
        assert found is not None
        return found


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """One model of the stand-in."""
    monkeypatch.setattr(training, "training_context", stand_in_context)
    monkeypatch.setattr(training, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(train_now, "ANSWER_SECONDS", 0.01)
    shop = Shop(tmp_path)
    shop.train()
    return shop


def everything(folder: Path) -> dict[str, object]:
    """What stands below it: links as what they point at, files with their content."""
    return {
        str(path.relative_to(folder)): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_a_training_is_run_again_as_it_was_and_no_model_is_touched(shop: Shop) -> None:
    before = everything(shop.data.models)

    found, ended = shop.reproduce()

    assert ended == ""
    assert found["reproduced"]
    assert (found["training_id"], found["steps"], found["tolerance"]) == (TRAINING, [1, 1], 0)
    assert (found["figures"], found["adapter"]) == (
        [], {"tensors": 1, "differing": [], "largest": 0.0}
    )  # fmt: skip
    assert found["ran_otherwise"] == {}
    folder = Path(found["folder"])
    assert folder == shop.data.root / "reproductions" / TRAINING / "1"
    first, again = shop.manifest(shop.folder), shop.manifest(folder)
    assert again.arguments == first.arguments
    assert "0.2" in again.arguments
    assert again.dataset_sha256 == first.dataset_sha256
    assert everything(shop.data.models) == before
    assert list((shop.data.root / "reproductions").rglob("*.tar.gz")) == []
    assert list((shop.data.root / "reproductions").rglob(LATEST)) == []
    written = json.loads((folder / "comparison.json").read_bytes())
    assert written == found


def test_what_differs_is_told_with_the_step_and_the_tensor_and_fails(shop: Shop) -> None:
    weights = shop.folder / "adapter" / WEIGHTS
    [(name, tensor)] = load_file(weights).items()
    save_file({name: tensor + np.float32(0.5)}, weights)
    (shop.folder / "metrics.jsonl").write_text('{"step":1,"steps":1,"loss":0.625}\n')

    found, ended = shop.reproduce()
    text = shop.invoke("reproduce", LATEST).output
    near, ended_near = shop.reproduce("--tolerance", "0.5")

    assert ended == f"{TRAINING} was not reproduced: what differs stands above"
    assert found["figures"] == [
        {"name": "loss", "step": 1, "first": 0.625, "again": 0.5, "largest": 0.125}
    ]
    assert found["adapter"] == {"tensors": 1, "differing": [name], "largest": 0.5}
    assert "NOT the same to the bit" in text
    assert "adapter: 1 of 1 tensor differ: at most 0.5" in text
    assert (near["reproduced"], ended_near) == (True, "")
    assert [Path(each["folder"]).name for each in (found, near)] == ["1", "3"]


def test_it_takes_the_script_that_was_kept_and_not_that_of_today(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = BuildContext({**stand_in_context().files, SCRIPT: b"raise SystemExit(10)\n"})
    monkeypatch.setattr("pairstream.reproduction.training_context", lambda: broken)

    kept, _ = shop.reproduce()
    for path in (shop.folder / "context" / SCRIPT, shop.folder / "context" / "Dockerfile"):
        path.unlink()
    failed = shop.fails()

    assert kept["reproduced"]
    assert failed.startswith("the training failed this time: the dataset or the base model is bad")


@pytest.mark.parametrize("name", [SCRIPT, "train_dpo/more.py", "Dockerfile"])
def test_a_kept_script_that_was_changed_is_not_run(shop: Shop, name: str) -> None:
    """The training itself could write there."""
    (shop.folder / "context" / name).write_text("raise SystemExit(10)\n")

    assert "the kept script was changed, and does not run" in shop.fails()


def test_one_that_was_left_before_its_end_is_gone_on_with(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pairstream.reproduction.compare_trainings", left)
        shop.invoke("reproduce", TRAINING)

    found, _ = shop.reproduce()

    assert Path(found["folder"]).name == "1"
    assert found["reproduced"]
    assert sum(note.startswith("started") for note in shop.starts) == 2


def test_a_round_begins_with_the_adapter_that_it_began_with(shop: Shop) -> None:
    config = shop.folder / "adapter" / "adapter_config.json"
    config.write_text(json.dumps({"base_model_name_or_path": "base"}))
    shop.train("--training-next-round", "continue")
    second = f"{TRAINING}-2"
    begun = shop.manifest(shop.data.models / second).previous
    assert begun is not None
    assert begun.training_id == TRAINING

    found, ended = shop.reproduce(training=second)
    log = (Path(found["folder"]) / "training.log").read_text()
    (shop.folder / "adapter").rename(shop.folder / "elsewhere")
    refused = shop.fails(training=second)

    assert ended == ""
    assert f"began with {shop.folder / 'adapter'}" in log
    assert f"{shop.folder / 'adapter'}, with which it began, is gone" in refused


def test_the_dataset_is_found_by_its_hashes(shop: Shop, tmp_path: Path) -> None:
    other = publish(tmp_path / "other", make_pairs(7)).datasets / "ds-000001"
    elsewhere = tmp_path / "elsewhere"
    (shop.data.datasets / "ds-000001").rename(elsewhere)

    assert "is no published dataset" in shop.fails()
    assert f"{other} is not what {TRAINING} was trained on" in shop.fails("--dataset", str(other))
    assert not (shop.data.root / "reproductions").exists()
    found, _ = shop.reproduce("--dataset", str(elsewhere))

    assert found["reproduced"]


def test_what_never_came_to_a_model_is_refused(shop: Shop) -> None:
    shop.invoke("train", str(shop.data.datasets / "ds-000001"), "--launcher", "process",
                "--base-model", str(shop.base), "--training-args",
                f"--code 12 --starts {shop.root / 'starts'}")  # fmt: skip

    assert f"{TRAINING}-2 failed, so there is nothing to compare" in shop.fails(
        training=f"{TRAINING}-2"
    )
    assert "nowhere has not ended, or is not in" in shop.fails(training="nowhere")
    assert "PAIRSTREAM_LAUNCHER=none trains nothing" in shop.fails("--launcher", "none")
