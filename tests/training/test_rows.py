"""The rows of the contract, as the trainer writes them, in TRL's own hands."""

import json
import math
from pathlib import Path

import pytest

from schemas.rows import encode
from streams.garbling import Garbler, corrupt, garbled_pair
from streams.partition import Partition
from tests.streams.asked import as_a_model_garbles
from trainer.content import write_content
from trainer.selection import CutSettings
from trainer.train_dpo.data import read_rows

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_packages")]

PROMPTS = {
    "system_plist": [{"role": "system", "content": "You free space."}],
    "basic_env_plist": [{"role": "user", "content": "The disk is full."}],
    "special_egc_req_plist": [],
    "strat_code_req_plist": [{"role": "user", "content": "Propose a strategy."}],
}


def events(run: str, scores: list[float]) -> list[dict[str, object]]:
    """A run of one strategy; a score of 0 is a failure."""
    strategy = {"run_id": run, "time": "2026-11-23T10:00:00Z", "strategy_id": "s-1"}
    return [
        {**strategy, "type": "run.started", "prompts": PROMPTS},
        {**strategy, "type": "strategy.proposed", "strategy": f"Empty the cache of {run}."},
        *(
            {**strategy, "type": "code.attempted", "attempt": number, "code": f"clear({number})",
             "compiled": True, "ran": True, "score": score}
            for number, score in enumerate(scores, 1)
        ),
        {**strategy, "type": "run.finished"},
    ]  # fmt: skip


def dataset_lines(garbler: Garbler = corrupt) -> list[bytes]:
    """What a worker and a trainer make of a mixed run and one that worked first time."""
    partition = Partition(extended=False)
    records = [
        (str(event["run_id"]).encode(), json.dumps(event).encode(), offset)
        for offset, event in enumerate(events("r-1", [0, 2.5, 0]) + events("r-2", [1]))
    ]
    settlements = partition.apply(records, now_ms=0).settlements
    pairs = [pair for settlement in settlements for pair in settlement.pairs]
    requests = [request for settlement in settlements for request in settlement.garble_requests]
    pairs += [garbled_pair(request, garbler) for request in requests]
    return [encode(pair) + b"\n" for pair in sorted(pairs, key=lambda pair: pair.pair_id)]


def test_rows_train_with_trl_as_they_are(tmp_path: Path, tiny_model: Path) -> None:
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    lines = dataset_lines()
    assert write_content(tmp_path, lines, CutSettings(eval_fraction=0)).rules == {
        "first_time_code": 1, "first_time_strategy": 1, "mixed_code": 2
    }  # fmt: skip
    rows = load_dataset(
        "json", data_files=str(tmp_path / "train.jsonl"), split="train",
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    assert rows.to_list() == [json.loads(line) for line in lines]
    trainer = DPOTrainer(
        model=str(tiny_model),
        args=DPOConfig(
            output_dir=str(tmp_path / "output"), use_cpu=True, bf16=False, max_steps=2,
            per_device_train_batch_size=2, logging_steps=1, report_to="none",
        ),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(tiny_model),
        peft_config=LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"),
    )  # fmt: skip
    trainer.train()
    assert len(trainer.train_dataset) == 4
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert len(losses) == 2
    assert losses[0] == pytest.approx(math.log(2), rel=0.01)


def test_rows_with_a_distance_and_rows_without_load_together(tmp_path: Path) -> None:
    from datasets import load_dataset

    lines = dataset_lines(as_a_model_garbles)
    content = write_content(tmp_path, lines, CutSettings(eval_fraction=0))
    file = tmp_path / "train.jsonl"

    rows = load_dataset(
        "json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache")
    )
    trained_on = read_rows(file, content.files["train.jsonl"].sha256)

    assert file.read_bytes() == b"".join(lines)
    written = [json.loads(line) for line in lines]
    assert rows["garbled_distance"] == [row.get("garbled_distance") for row in written]
    assert sorted(row is None for row in rows["garbled_distance"]) == [False, False, True, True]
    assert [row["rejected"] for row in trained_on] == [row["rejected"] for row in written]
