"""The way through: from the flags to the exit code."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from .arguments import parse_arguments
from .data import EVAL, TRAIN, prepare, read_dataset, refuse_great_loss
from .evaluation import adapter_weights, gate_figures
from .files import finite, save_adapter, write_result
from .kto import labels_told
from .model import (
    count_parameters,
    load_tokenizer,
    longest_sequence,
    pass_over_unused_kernel,
    pick_device,
    refuse_unknown_tokens,
)
from .plots import draw
from .recorder import is_saturated, steps_of
from .refusals import GPU_MEMORY, WRONG_USAGE, Refused
from .rounds import adapter_to_come, join
from .serving import serving_of, tell_refusals
from .stop import Stop
from .training import make_trainer, train_to_the_end, training_config


def main(arguments: list[str] | None = None) -> NoReturn:
    args = parse_arguments(arguments)
    to_the_end(lambda: run(args))


def to_the_end(work: Callable[[], None]) -> NoReturn:
    """Do it in this process, and leave with the exit code that says how it ended."""
    prepare_process()
    try:
        work()
    except Refused as refused:
        sys.stderr.write(f"train_dpo: {refused}\n")
        sys.exit(refused.code)
    except Exception as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        sys.stderr.write("train_dpo: the GPU's memory ran out: lower --max-length\n")
        sys.exit(GPU_MEMORY)
    sys.exit(0)


def prepare_process() -> None:
    """What must stand before the libraries are imported, which read it then."""
    for name in (
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HF_HUB_DISABLE_TELEMETRY",
        "HF_HUB_DISABLE_PROGRESS_BARS",
        "HF_DATASETS_DISABLE_PROGRESS_BARS",
    ):
        os.environ[name] = "1"
    # TRL would spread over all GPUs in sight, in a way that 4-bit layers do not survive.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0]
    pass_over_unused_kernel()
    os.umask(0o022)  # whoever archives the output may be another user


def run(args: argparse.Namespace) -> None:
    started = time.monotonic()
    stop = Stop()
    args.output.mkdir(parents=True, exist_ok=True)
    train_rows, held_out_rows, hashes = read_dataset(args.dataset, args.method)
    tell_refusals(adapter_to_come(args.lora_rank, args.init_adapter, args.merge_first))
    device = pick_device(args.device)
    tokenizer = load_tokenizer(args.base_model)
    max_length = longest_sequence(args.base_model, args.max_length)
    train = prepare(train_rows, tokenizer, max_length)
    held_out = prepare(held_out_rows, tokenizer, max_length)
    refuse_great_loss(train, max_length, args.max_lost_share)
    for share, name in ((train, TRAIN), (held_out, EVAL)):
        if share.odd:
            print(f"warning: {share.odd} lines of {name} are left out; {share.first_odd}")
    highest = max(train.highest_token, held_out.highest_token, tokenizer.pad_token_id)
    refuse_unknown_tokens(args.base_model, tokenizer, highest)
    what = "pairs" if args.method == "dpo" else "responses"
    print(f"training on {device}: {len(train.rows)} {what}, {len(held_out.rows)} held out")

    set_up_reports(args)
    config = training_config(args, device, max_length)
    trainer = make_trainer(args, config, device, tokenizer, train.rows, held_out.rows)
    initial = adapter_weights(trainer.model)
    train_to_the_end(trainer, args, stop)
    if held_out.rows:
        print(f"trained; measuring it and what it began with on {len(held_out.rows)} {what}")
    evaluation = finite(trainer.evaluate()) if held_out.rows else None
    gate = gate_figures(trainer, initial)
    name = args.base_model_name or args.base_model.name
    save_adapter(trainer, args.output / "adapter", name)
    if args.merge_first:
        join(args.merge_first, args.output / "adapter")
    draw(trainer.state.log_history, args.output / "plots")
    write_result(
        args.output,
        {
            "dataset_sha256": hashes,
            "base_model": name,
            "device": device,
            "arguments": vars(args),
            "versions": versions(),
            "pairs": len(train.rows),
            "identical": train.identical,
            "dropped": train.dropped,
            "truncated": train.truncated,
            "held_out": len(held_out.rows),
            "held_out_dropped": held_out.dropped,
            **({"labels": labels_told(trainer)} if args.method == "kto" else {}),
            **figures(trainer),
            "evaluation": evaluation,
            "gate": finite(gate),
            "serving": serving_of(args.output / "adapter"),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "seconds": round(time.monotonic() - started, 1),
        },
    )
    print("done")


def set_up_reports(args: argparse.Namespace) -> None:
    """TensorBoard's and Trackio's files go into the output. Raises: Refused."""
    if args.report_to == "none":
        return
    if importlib.util.find_spec(args.report_to) is None:
        raise Refused(
            WRONG_USAGE,
            f"--report-to {args.report_to}: the package is not in this environment: install it "
            "there, or report to none",
        )
    os.environ["TENSORBOARD_LOGGING_DIR"] = os.environ["TRACKIO_DIR"] = str(args.output / "logs")


def figures(trainer: Any) -> dict[str, Any]:
    steps = steps_of(trainer.state)
    return {
        "precision": "bfloat16" if trainer.args.bf16 else "float32",
        "precomputed_reference": bool(trainer.precompute_ref_logps),
        "parameters": count_parameters(trainer.model),
        "adapted_layers": sorted(trainer.model.peft_config["default"].target_modules),
        "first_loss": steps[0]["loss"],
        "first_margin": steps[0].get("rewards/margins"),
        "last": finite(steps[-1]),
        "saturated": is_saturated(steps),
        "stopped_early": trainer.state.global_step < trainer.state.max_steps,
    }


def versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = ("torch", "trl", "transformers", "peft", "bitsandbytes", "datasets", "accelerate")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
