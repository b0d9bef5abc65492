"""What the script refuses before it imports anything heavy: each with its code and one line."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.training.conftest import MakeDataset, Train, message, pair, response
from trainer.train_dpo.data import read_row
from trainer.train_dpo.refusals import BAD_DATA


def rehash(folder: Path, content: bytes) -> None:
    """Change the training pairs and let the manifest agree."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["train.jsonl"]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "train.jsonl").write_bytes(content)


def without(side: str) -> dict[str, object]:
    return {key: value for key, value in pair(0).items() if key != side}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "JSONDecodeError"),
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ("null", "TypeError"),
        (json.dumps(without("chosen")), "KeyError: 'chosen'"),
        (json.dumps(pair(0, prompt="Print 0.")), "prompt holds no messages"),
        (json.dumps(pair(0, chosen=[])), "chosen holds no messages"),
        (json.dumps(pair(0, rejected=None)), "rejected holds no messages"),
        (json.dumps(pair(0, chosen=["print(0)"])), "TypeError"),
        (json.dumps(pair(0, chosen=[{"role": "assistant"}])), "KeyError: 'content'"),
        (json.dumps(pair(0, chosen=[message("x", role="")], prompt=[{"role": 1, "content": ""}])),
         "a message of prompt is no text"),
        (json.dumps(pair(0, chosen=response("\ud800"))), "surrogates not allowed"),
    ],
)  # fmt: skip
def test_odd_row_is_refused_with_its_file_and_line(
    make_dataset: MakeDataset, train: Train, line: str, why: str
) -> None:
    dataset = make_dataset([pair(1), line])
    trained = train(dataset)
    assert trained.code == BAD_DATA
    assert f"{dataset / 'train.jsonl'}, line 2 is no pair" in trained.stderr
    assert why in trained.stderr
    assert trained.stderr.count("\n") == 1


def test_text_that_is_not_utf_8_is_refused(make_dataset: MakeDataset, train: Train) -> None:
    dataset = make_dataset()
    rehash(dataset, json.dumps(pair(1)).encode().replace(b"Print", b"\xff"))
    trained = train(dataset)
    assert trained.code == BAD_DATA
    assert "line 1 is no pair" in trained.stderr


def test_odd_row_is_refused_in_the_held_out_share_too(
    make_dataset: MakeDataset, train: Train
) -> None:
    trained = train(make_dataset(None, ["{}"]))
    assert trained.code == BAD_DATA
    assert "eval.jsonl, line 1 is no pair" in trained.stderr


def test_dataset_without_pairs_is_refused(make_dataset: MakeDataset, train: Train) -> None:
    trained = train(make_dataset([], [pair(1)]))
    assert trained.code == BAD_DATA
    assert "has no pairs to train on" in trained.stderr


@pytest.mark.parametrize("name", ["train.jsonl", "eval.jsonl"])
def test_file_that_its_manifest_does_not_know_is_refused(
    make_dataset: MakeDataset, train: Train, name: str
) -> None:
    dataset = make_dataset(None, [pair(9)])
    with (dataset / name).open("a") as file:
        file.write(json.dumps(pair(10)) + "\n")
    trained = train(dataset)
    assert trained.code == BAD_DATA
    assert f"{dataset / name} is not what its manifest says (SHA-256)" in trained.stderr


def test_missing_file_is_refused(make_dataset: MakeDataset, train: Train) -> None:
    dataset = make_dataset()
    (dataset / "eval.jsonl").unlink()
    trained = train(dataset)
    assert trained.code == BAD_DATA
    assert "eval.jsonl cannot be read: No such file or directory" in trained.stderr


@pytest.mark.parametrize("manifest", [None, "", "{}", "[]", '{"files": {"train.jsonl": {}}}'])
def test_dataset_without_a_whole_manifest_is_refused(
    make_dataset: MakeDataset, train: Train, manifest: str | None
) -> None:
    dataset = make_dataset()
    (dataset / "manifest.json").unlink()
    if manifest is not None:
        (dataset / "manifest.json").write_text(manifest)
    trained = train(dataset)
    assert trained.code == BAD_DATA
    assert "has no manifest: publish it first" in trained.stderr


def test_extra_columns_are_left_out() -> None:
    row = read_row(json.dumps(pair(3, agent_id="a", task_id=None)).encode())
    assert row == {side: pair(3)[side] for side in ("prompt", "chosen", "rejected")}


@pytest.mark.parametrize(
    "wrong",
    [
        ("--batch-size", "0"),
        ("--gradient-accumulation", "-1"),
        ("--learning-rate", "nan"),
        ("--max-steps", "0"),  # TRL would train a whole epoch
        ("--max-steps", "-2"),
        ("--epochs", "many"),
        ("--quantization", "int8"),
        # Neither is offered: smoothing does nothing in TRL's loss, and "robust" has no bound.
        ("--label-smoothing", "0.1"),
        ("--loss-types", "robust"),
        ("--loss-types", "sigmoid,robust"),
        ("--loss-types", "sigmoid,sft"),
        ("--loss-weights", "1,0.2"),
        ("--loss-weights", "-1"),
        ("--init-adapter", "a --merge-first b"),
        ("--init-adapter", "a --reference model"),
    ],
)
def test_wrong_flag_is_wrong_usage(
    make_dataset: MakeDataset, train: Train, wrong: tuple[str, str]
) -> None:
    trained = train(make_dataset(), wrong[0], *wrong[1].split())
    assert trained.code == 2
    assert wrong[0] in trained.stderr
    assert not trained.output.exists()
