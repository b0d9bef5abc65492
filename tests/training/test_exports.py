"""What `pairstream dataset` writes and counts, in the hands of those who read it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pairstream.__main__ import cli
from pairstream.export_formats import COLUMNS
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import publish
from trainer.layout import DataDir

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_packages")]

NAME = "ds-000001"


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """Columns that are null throughout, and others that are so on one side only."""
    return publish(tmp_path / "data", make_pairs(24))


@pytest.fixture
def export(data: DataDir, tmp_path: Path) -> Callable[[str], Path]:
    def export(format_: str) -> Path:
        out = tmp_path / format_
        words = ["dataset", "export", NAME, "--format", format_, "--out", str(out)]
        done = CliRunner().invoke(cli, [*words, "--data-dir", str(data.root)])
        assert done.exit_code == 0, done.exception
        return out

    return export


def rows_of(data: DataDir, name: str) -> list[Any]:
    """With every column: a table has it also where a line has no such field."""
    lines = (data.datasets / NAME / name).read_bytes().splitlines()
    return [dict.fromkeys(COLUMNS) | json.loads(line) for line in lines]


def test_a_hub_folder_loads_with_both_splits_and_every_column(
    export: Callable[[str], Path], data: DataDir, tmp_path: Path
) -> None:
    from datasets import load_dataset

    loaded = load_dataset(str(export("hf")), cache_dir=str(tmp_path / "cache"))

    assert set(loaded) == {"train", "test"}
    assert loaded["train"].to_list() == rows_of(data, "train.jsonl")
    assert loaded["test"].to_list() == rows_of(data, "eval.jsonl")
    assert loaded["train"].features == loaded["test"].features
    assert loaded["train"].features["task_id"].dtype == "string"  # though it is always null


def test_parquet_holds_the_same_rows_with_the_same_types_on_both_sides(
    export: Callable[[str], Path], data: DataDir
) -> None:
    from pyarrow import parquet

    out = export("parquet")
    train, held_out = (parquet.read_table(out / f"{name}.parquet") for name in ("train", "eval"))

    assert train.to_pylist() == rows_of(data, "train.jsonl")
    assert held_out.to_pylist() == rows_of(data, "eval.jsonl")
    assert train.schema == held_out.schema
    assert str(train.schema.field("task_id").type) == "string"


@pytest.mark.parametrize(("format_", "method"), [("trl", "DPO"), ("kto", "KTO")])
def test_rows_train_with_trl_as_they_are(
    format_: str, method: str, export: Callable[[str], Path], tiny_model: Path, tmp_path: Path
) -> None:
    import trl
    from datasets import load_dataset
    from transformers import AutoTokenizer

    rows = load_dataset(
        "json", data_files=str(export(format_) / "train.jsonl"), split="train",
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    config = getattr(trl, f"{method}Config")(
        output_dir=str(tmp_path / "output"), use_cpu=True, bf16=False, max_steps=1,
        per_device_train_batch_size=2, report_to="none",
    )  # fmt: skip
    trainer = getattr(trl, f"{method}Trainer")(
        model=str(tiny_model),
        args=config,
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(tiny_model),
    )

    assert trainer.train().global_step == 1
    assert len(trainer.train_dataset) == len(rows)
    if format_ == "kto":
        assert rows.features["label"].dtype == "bool"


@pytest.mark.parametrize("max_length", [20, 100])
def test_tokens_are_those_of_the_base_model(
    data: DataDir, tiny_model: Path, max_length: int
) -> None:
    from transformers import AutoTokenizer

    words = ["dataset", "show", NAME, "--tokens", tiny_model, "--max-length", max_length, "--json"]
    done = CliRunner().invoke(cli, [*map(str, words), "--data-dir", str(data.root)])
    told = json.loads(done.stdout)["tokens"]

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)

    def tokens(messages: list[dict[str, str]]) -> int:
        return sum(
            len(tokenizer(message["content"], add_special_tokens=False)["input_ids"])
            for message in messages
        )

    rows = [*rows_of(data, "train.jsonl"), *rows_of(data, "eval.jsonl")]
    fitting = [row for row in rows if tokens(row["prompt"]) < max_length]
    assert told["prompts_too_long"] == len(rows) - len(fitting)
    for side in ("chosen", "rejected"):
        lengths = sorted(tokens(row[side]) for row in rows)
        assert (told[side]["min"], told[side]["max"]) == (lengths[0], lengths[-1])
        assert told[f"{side}_too_long"] == sum(
            tokens(row["prompt"]) + tokens(row[side]) > max_length for row in fitting
        )
    assert told["prompts_too_long"] > 0
