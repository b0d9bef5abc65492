"""What `pairstream train` refuses, each with one line and nothing half written."""

from pathlib import Path

import pytest

from tests.conftest import Pairstream
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import publish


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return publish(tmp_path / "data", make_pairs(6)).datasets / "ds-000001"


def refused(done: object, *words: str) -> None:
    assert done.returncode == 1  # type: ignore[attr-defined]
    stderr: str = done.stderr  # type: ignore[attr-defined]
    assert stderr.count("\n") == 1, stderr
    for word in words:
        assert word in stderr


def test_dataset_that_is_not_what_its_manifest_says_is_not_trained(
    dataset: Path, pairstream: Pairstream, tiny_model: Path, tmp_path: Path
) -> None:
    train = dataset / "train.jsonl"
    train.chmod(0o644)
    train.write_bytes(train.read_bytes().replace(b"Empty", b"Fill!"))

    done = pairstream(
        "train", dataset, "--launcher", "process", "--base-model", tiny_model,
        "--data-dir", "data", check=False,
    )  # fmt: skip

    refused(done, "train.jsonl is not what its manifest says", "pairstream replay")
    assert not (tmp_path / "data" / "models").exists()


def test_folder_without_a_manifest_is_no_dataset(pairstream: Pairstream, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    refused(pairstream("train", "folder", check=False), "folder is no published dataset")


@pytest.mark.parametrize(
    ("base_model", "words"),
    [
        (None, "PAIRSTREAM_BASE_MODEL"),
        ("./nothing", "./nothing is not there"),
        (".", "it has no config.json"),
    ],
)
def test_base_model_that_cannot_be_is_named(
    dataset: Path, pairstream: Pairstream, base_model: str | None, words: str
) -> None:
    flags = ["--base-model", base_model] if base_model else []

    done = pairstream("train", dataset, "--launcher", "process", *flags, check=False)

    refused(done, words)


def test_engine_that_does_not_answer_is_named(
    dataset: Path, pairstream: Pairstream, tiny_model: Path
) -> None:
    done = pairstream(
        "train", dataset, "--base-model", tiny_model, "--data-dir", "data",
        env={"DOCKER_HOST": "tcp://127.0.0.1:1"}, check=False,
    )  # fmt: skip

    refused(done, "no Docker Engine answers", "PAIRSTREAM_LAUNCHER=process")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--training-loss-weights", "1"], "1 for 2 of training-loss-types"),
        (
            ["--training-next-round", "continue", "--training-reference", "model"],
            "with training-next-round=continue it must be adapter",
        ),
        (["--training-beta", "0"], "--training-beta"),
    ],
)
def test_recipe_that_cannot_be_is_wrong_usage_before_anything_is_made(
    dataset: Path, pairstream: Pairstream, tmp_path: Path, flags: list[str], words: str
) -> None:
    done = pairstream("train", dataset, "--data-dir", "data", *flags, check=False)

    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data" / "models").exists()
