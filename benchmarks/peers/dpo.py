"""One training of a dataset, by one of three hands: `... dpo HAND DATASET BASE OUTPUT`.

- `ours`: the parts of our script that read, load and train.
- `by_hand`: the same settings, typed into TRL's own classes, as a notebook would.
- `defaults`: what TRL does when nobody says anything but which adapter, for one epoch.

Tells what loading and training took of the processor, once everything is imported; what comes
after the training, such as the evaluation, none of them does.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from trainer.train_dpo.arguments import parse_arguments
from trainer.train_dpo.command import prepare_process
from trainer.train_dpo.data import prepare, read_dataset
from trainer.train_dpo.model import adaptable_layers, load_tokenizer, longest_sequence
from trainer.train_dpo.stop import Stop
from trainer.train_dpo.training import make_trainer, train_to_the_end, training_config


def ours(dataset: Path, base: Path, output: Path) -> Any:
    folders = ("--dataset", dataset, "--base-model", base, "--output", output)
    # Unquantised, as TRL is by default, and as is advised for small models.
    small = ("--device", "cpu", "--quantization", "none")
    args = parse_arguments([str(word) for word in (*folders, *small)])
    output.mkdir()
    rows, _, _ = read_dataset(dataset)
    tokenizer = load_tokenizer(base)
    max_length = longest_sequence(base, args.max_length)
    train = prepare(rows, tokenizer, max_length)
    config = training_config(args, "cpu", max_length)
    trainer = make_trainer(args, config, "cpu", tokenizer, train.rows, [])
    train_to_the_end(trainer, args, Stop())
    return trainer


def by_hand(dataset: Path, base: Path, output: Path) -> Any:
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = DPOConfig(
        output_dir=str(output), use_cpu=True, bf16=has_bfloat16(), seed=0, report_to="none",
        beta=0.3, loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.2], learning_rate=5e-5,
        num_train_epochs=1, per_device_train_batch_size=1, gradient_accumulation_steps=8,
        max_length=2048, gradient_checkpointing=False, logging_steps=1, save_steps=50,
        disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules=adaptable_layers(model),
                         task_type="CAUSAL_LM")  # fmt: skip
    trainer = DPOTrainer(
        model=model,
        args=config,
        train_dataset=rows_of(dataset),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=adapter,
    )
    trainer.train()
    return trainer


def defaults(dataset: Path, base: Path, output: Path) -> Any:
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    # Three epochs are its default: as many pairs are compared as ours trains on.
    config = DPOConfig(output_dir=str(output), use_cpu=True, num_train_epochs=1, report_to="none",
                       disable_tqdm=True)  # fmt: skip
    trainer = DPOTrainer(
        model=str(base), args=config, train_dataset=rows_of(dataset), peft_config=adapter
    )
    trainer.train()
    return trainer


def rows_of(dataset: Path) -> Any:
    from datasets import load_dataset

    return load_dataset("json", data_files=str(dataset / "train.jsonl"), split="train")


def has_bfloat16() -> bool:
    import torch

    return bool(torch.cpu.get_capabilities().get("avx512_bf16"))


HANDS = {"ours": ours, "by_hand": by_hand, "defaults": defaults}


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(hand: str, dataset: Path, base: Path, output: Path) -> None:
    prepare_process()
    import bitsandbytes  # noqa: F401
    import torch
    from trl import DPOTrainer  # noqa: F401

    # One thread: two would count their waiting for one another.
    torch.set_num_threads(1)
    before, begun = processor_seconds(), time.perf_counter()
    trainer = HANDS[hand](dataset, base, output)
    told = {
        "cpu_seconds": processor_seconds() - before,
        "seconds": time.perf_counter() - begun,
        "pairs": round(trainer.state.epoch * len(trainer.train_dataset)),
        "steps": trainer.state.global_step,
        "losses": [log["loss"] for log in trainer.state.log_history if "loss" in log],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
