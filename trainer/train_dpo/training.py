"""TRL's trainer as we need it, from the beginning or the last checkpoint to the end."""

from __future__ import annotations

import argparse
import contextlib
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .data import Row, like_lengths_together
from .files import write_metrics
from .kto import REFERENCE_COLUMNS, RESPONSES_A_PAIR, kto_config, weigh_labels
from .model import adaptable_layers, has_bfloat16, load_model
from .recorder import is_saturated, make_recorder, steps_of
from .refusals import BAD_DATA, STOPPED, Refused
from .rounds import (
    REFERENCE,
    load_adapter,
    merge_into_base,
    refuse_what_cannot_be_joined,
)
from .stop import Stop

CHECKPOINTS = "checkpoints"


def training_config(args: argparse.Namespace, device: str, max_length: int) -> Any:
    shared = shared_config(args, device, max_length)
    return kto_config(shared) if args.method == "kto" else dpo_config(args, shared)


def dpo_config(args: argparse.Namespace, shared: dict[str, Any]) -> Any:
    from trl import DPOConfig

    grouped = args.group_by_length and args.batch_size > 1
    return DPOConfig(
        **shared,
        # Label smoothing changes nothing in "sigmoid", and "robust" has no lower bound on garbled
        # responses: neither is offered.
        loss_type=args.loss_types.split(","),
        loss_weights=[float(weight) for weight in args.loss_weights.split(",")],
        # Grouped by length, the pairs already stand in their order.
        train_sampling_strategy="sequential" if grouped else "random",
    )


def shared_config(args: argparse.Namespace, device: str, max_length: int) -> dict[str, Any]:
    bfloat16 = args.precision == "bfloat16" or (args.precision == "auto" and has_bfloat16(device))
    return dict(
        output_dir=str(args.output / CHECKPOINTS),
        run_name=args.output.name,
        seed=args.seed,
        beta=args.beta,
        learning_rate=args.learning_rate,
        num_train_epochs=args.epochs,
        max_steps=args.max_steps,
        per_device_train_batch_size=args.batch_size,
        per_device_eval_batch_size=args.batch_size,
        gradient_accumulation_steps=args.gradient_accumulation,
        max_length=max_length,
        gradient_checkpointing=device == "cuda",  # it saves memory; on a CPU it only takes time
        bf16=bfloat16,
        use_cpu=device == "cpu",
        dataloader_pin_memory=device == "cuda",
        logging_steps=1,
        # Otherwise a loss that is no number is logged as the mean of those before.
        logging_nan_inf_filter=False,
        save_steps=50,
        save_total_limit=1,
        disable_tqdm=True,
        report_to=args.report_to,
        project="pairstream",
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
    from trl import DPOTrainer, KTOTrainer

    if args.method == "kto":
        weigh_labels(config, train)
    base = args.base_model
    if args.merge_first:
        base = merge_into_base(base, args.merge_first, args.output / CHECKPOINTS / "merged")
    weights = "bfloat16" if device == "cuda" and config.bf16 else "float32"
    model = load_model(base, device, args.quantization, weights)
    if args.merge_first:
        refuse_what_cannot_be_joined(args.merge_first, model)
    second = args.reference == "model"
    reference = load_model(base, device, args.quantization, weights) if second else None
    fresh = LoraConfig(
        r=args.lora_rank,
        lora_alpha=args.lora_alpha,
        target_modules=adaptable_layers(model),
        task_type="CAUSAL_LM",
    )
    if args.init_adapter:
        model = load_adapter(model, args.init_adapter)
    set_seed(args.seed)  # TRL 1.14 makes the adapter before it seeds
    trainer = (KTOTrainer if args.method == "kto" else DPOTrainer)(
        model=model,
        ref_model=reference,
        args=config,
        train_dataset=Dataset.from_list(train),
        eval_dataset=Dataset.from_list(held_out) if held_out else None,
        processing_class=tokenizer,
        peft_config=None if args.init_adapter else fresh,
    )
    train_in_full_precision(trainer.model)
    if args.init_adapter:
        set_adapter(trainer.model, args.init_adapter)  # what TRL has rounded
    if args.method == "dpo" and config.train_sampling_strategy == "sequential":
        group_by_length(trainer, args.batch_size, args.seed)
    if precomputation_pays(args, len(train)):
        columns = REFERENCE_COLUMNS if args.method == "kto" else PAIRS_REFERENCE
        precompute_reference(trainer, columns)
    trainer.remove_callback(PrinterCallback)  # the recorder prints what matters
    return trainer


def train_in_full_precision(model: Any) -> None:
    """TRL casts the adapters of a quantised model to bfloat16, where a usual DPO step is mostly
    too small to change them, and from which a resumed training would differ.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def set_adapter(model: Any, folder: Path) -> None:
    """Give the adapter in training the weights that were saved."""
    from peft import load_peft_weights, set_peft_model_state_dict

    set_peft_model_state_dict(model, load_peft_weights(str(folder), device="cpu"))


def group_by_length(trainer: Any, batch: int, seed: int) -> None:
    rows = trainer.train_dataset
    both = zip(rows["chosen_ids"], rows["rejected_ids"], strict=True)
    responses = (max(len(chosen), len(rejected)) for chosen, rejected in both)
    lengths = [
        len(prompt) + longest for prompt, longest in zip(rows["prompt_ids"], responses, strict=True)
    ]
    trainer.train_dataset = rows.select(like_lengths_together(lengths, batch, seed))


def precomputation_pays(args: argparse.Namespace, pairs: int) -> bool:
    """Once for each pair costs less than in each epoch, where there is more than one."""
    if args.precompute_reference != "auto":
        return bool(args.precompute_reference == "on")
    step = args.batch_size * args.gradient_accumulation
    step *= RESPONSES_A_PAIR if args.method == "kto" else 1
    epochs = args.max_steps * step / pairs if args.max_steps > 0 else args.epochs
    return bool(epochs > 1)


PAIRS_REFERENCE = ("ref_chosen_logps", "ref_rejected_logps")


def precompute_reference(trainer: Any, columns: tuple[str, str]) -> None:
    """Have the reference say its part of each row once, in the precision of the training.

    TRL's own way computes in another one, so that the first margin would not be 0.
    """
    from accelerate.utils.operations import convert_outputs_to_fp32
    from torch.utils.data import DataLoader

    reference = trainer.ref_model or trainer.model

    def in_training_precision(*ids: Any, **inputs: Any) -> Any:
        with trainer.accelerator.autocast():
            return reference(*ids, **inputs)

    forward = convert_outputs_to_fp32(in_training_precision)
    trainer.model.train()
    for name in ("train_dataset", "eval_dataset"):
        rows = getattr(trainer, name)
        if rows is None:
            continue
        batches = DataLoader(
            rows,
            batch_size=trainer.args.per_device_train_batch_size,
            collate_fn=trainer.data_collator,
        )
        said = [
            trainer.compute_ref_log_probs(
                forward, {key: value.to(trainer.args.device) for key, value in batch.items()}
            )
            for batch in batches
        ]
        for column, parts in zip(columns, zip(*said, strict=True), strict=True):
            values = [float(value) for part in parts for value in part]
            rows = rows.add_column(column, values)
        setattr(trainer, name, rows)
    trainer.precompute_ref_logps = True
    trainer.ref_model = None  # its memory is better used


def train_to_the_end(trainer: Any, args: argparse.Namespace, stop: Stop) -> None:
    """Train from the last checkpoint or the beginning. Raises: Refused."""
    trainer.add_callback(make_recorder(args.output, stop, args.early_stop))
    checkpoint, state = last_checkpoint(args.output / CHECKPOINTS)
    if checkpoint is not None and is_at_its_end(state, args.early_stop):
        # Only the end was missing. To train on would add a step.
        set_adapter(trainer.model, checkpoint)
        trainer.state = state
        write_metrics(args.output, state)
        return
    if checkpoint is not None:
        print(f"going on from {checkpoint.name}")
        # TRL's copy of the adapter that a round goes on from. Where it is, transformers reads the
        # adapters of folders alone, and what the round has learnt is lost; it was loaded already.
        shutil.rmtree(checkpoint / REFERENCE, ignore_errors=True)
    stop.training = True
    with refusing_bad_checkpoint(checkpoint):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    stop.training = False
    if stop.asked:
        raise Refused(STOPPED, "stopped: a start with the same output goes on from here")


@contextlib.contextmanager
def refusing_bad_checkpoint(checkpoint: Path | None) -> Iterator[None]:
    """Transformers reads states of a checkpoint as tensors alone (`weights_only`): what else a
    pickle holds is refused, and not run.
    """
    try:
        yield
    except pickle.UnpicklingError as error:
        raise Refused(
            BAD_DATA,
            f"{checkpoint} holds more than a training's state: somebody wrote to it; remove it to "
            "train from the beginning",
        ) from error


def is_at_its_end(state: Any, early_stop: int) -> bool:
    if state.global_step >= state.max_steps:
        return True
    return early_stop > 0 and is_saturated(steps_of(state), early_stop)


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
