"""TRL's trainer as we need it, from the beginning or the last checkpoint to the end."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any

from .data import Row
from .files import write_metrics
from .model import adaptable_layers, load_model
from .recorder import make_recorder
from .refusals import STOPPED, Refused
from .stop import Stop


def training_config(args: argparse.Namespace, device: str, max_length: int) -> Any:
    from trl import DPOConfig

    return DPOConfig(
        output_dir=str(args.output / "checkpoints"),
        seed=args.seed,
        beta=args.beta,
        # Label smoothing changes nothing in "sigmoid", and "robust" has no lower bound on garbled
        # responses: neither is offered.
        loss_type=["sigmoid", "sft"] if args.sft_weight else ["sigmoid"],
        loss_weights=[1.0, args.sft_weight] if args.sft_weight else None,
        learning_rate=args.learning_rate,
        num_train_epochs=args.epochs,
        max_steps=args.max_steps,
        per_device_train_batch_size=args.batch_size,
        per_device_eval_batch_size=args.batch_size,
        gradient_accumulation_steps=args.gradient_accumulation,
        max_length=max_length,
        gradient_checkpointing=device == "cuda",
        bf16=device == "cuda",
        use_cpu=device == "cpu",
        dataloader_pin_memory=device == "cuda",
        logging_steps=1,
        # Otherwise a loss that is no number is logged as the mean of those before.
        logging_nan_inf_filter=False,
        save_steps=50,
        save_total_limit=1,
        disable_tqdm=True,
    )


def make_trainer(
    args: argparse.Namespace,
    config: Any,
    device: str,
    tokenizer: Any,
    train: list[Row],
    held_out: list[Row],
) -> Any:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback, set_seed
    from trl import DPOTrainer

    model = load_model(args.base_model, device, args.quantization)
    second = args.reference == "model"
    reference = load_model(args.base_model, device, args.quantization) if second else None
    set_seed(args.seed)  # TRL 1.14 makes the adapter before it seeds
    trainer = DPOTrainer(
        model=model,
        ref_model=reference,
        args=config,
        train_dataset=Dataset.from_list(train),
        eval_dataset=Dataset.from_list(held_out) if held_out else None,
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=args.lora_rank,
            lora_alpha=args.lora_alpha,
            target_modules=adaptable_layers(model),
            task_type="CAUSAL_LM",
        ),
    )
    train_in_full_precision(trainer.model)
    trainer.remove_callback(PrinterCallback)  # the recorder prints what matters
    return trainer


def train_in_full_precision(model: Any) -> None:
    """TRL casts the adapters of a quantised model to bfloat16, where a usual DPO step is mostly
    too small to change them, and from which a resumed training would differ.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def train_to_the_end(trainer: Any, output: Path, stop: Stop) -> None:
    """Train from the last checkpoint or the beginning. Raises: Refused."""
    from peft import load_peft_weights, set_peft_model_state_dict

    trainer.add_callback(make_recorder(output, stop))
    checkpoint, state = last_checkpoint(output / "checkpoints")
    if state is not None and state.global_step >= state.max_steps:
        # Only the end was missing. To train on would add a step.
        set_peft_model_state_dict(trainer.model, load_peft_weights(str(checkpoint)))
        trainer.state = state
        write_metrics(output, state)
        return
    if checkpoint is not None:
        print(f"going on from {checkpoint.name}")
    stop.training = True
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    stop.training = False
    if stop.asked:
        raise Refused(STOPPED, "stopped: a start with the same output goes on from here")


def last_checkpoint(folder: Path) -> tuple[Path | None, Any]:
    """The newest complete checkpoint and its state.

    The state is the last file of a checkpoint, so a kill leaves none or a part of it.
    """
    from transformers import TrainerState

    states = []
    for file in folder.glob("checkpoint-*/trainer_state.json"):
        with contextlib.suppress(ValueError):
            states.append((file.parent, TrainerState.load_from_json(str(file))))
    return max(states, key=lambda found: found[1].global_step, default=(None, None))
