"""The flags."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from . import __doc__ as purpose

METHODS = ("dpo", "kto")

LOSS_TYPES = ("sigmoid", "hinge", "ipo", "apo_zero", "sigmoid_norm", "sft")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=purpose, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--dataset", type=Path, required=True, help="folder of a published dataset")
    add("--base-model", type=Path, required=True, help="folder of a transformers model")
    add("--base-model-name", help="written into the adapter (default: the folder's name)")
    add("--output", type=Path, required=True, help="folder for all that is written")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto")
    add("--method", choices=METHODS, default="dpo", help="dpo: pairs; kto: labelled responses")
    _add_start(add)
    _add_loss(add)
    _add_steps(add)
    _add_costs(add)
    args = parser.parse_args(arguments)
    if args.sft_weight is not None:
        both = args.sft_weight > 0
        args.loss_types = "sigmoid,sft" if both else "sigmoid"
        args.loss_weights = f"1,{args.sft_weight}" if both else "1"
    if args.method == "kto":  # it has one loss of its own
        args.loss_types, args.loss_weights = "kto", "1"
    if len(args.loss_types.split(",")) != len(args.loss_weights.split(",")):
        parser.error("--loss-types and --loss-weights name different numbers of losses")
    if args.init_adapter and (args.merge_first or args.reference == "model"):
        parser.error(
            "--init-adapter has itself as its reference: it goes with neither --merge-first nor "
            "--reference model"
        )
    return args


def _add_start(add: Callable[..., object]) -> None:
    add("--init-adapter", type=Path, help="folder of an adapter to go on with; the reference too")
    add("--merge-first", type=Path, help="folder of an adapter to merge into the base beforehand")
    add("--quantization", choices=["nf4", "none"], default="nf4", help="of the base's weights")
    add(
        "--reference",
        choices=["adapter", "model"],
        default="adapter",
        help="the base with the adapter disabled, or a second loaded model",
    )
    add("--lora-rank", type=positive(int), default=16)
    add("--lora-alpha", type=positive(int), default=32)
    add("--seed", type=int, default=0)


def _add_loss(add: Callable[..., object]) -> None:
    add("--loss-types", type=losses, default="sigmoid,sft", help="added up; by commas")
    add("--loss-weights", type=weights, default="1,0.2", help="one for each of them")
    add("--sft-weight", type=float, help="short for sigmoid,sft with the weights 1 and this")
    add("--beta", type=positive(float), default=0.3, help="DPO's strength of the reference")


def _add_steps(add: Callable[..., object]) -> None:
    add("--learning-rate", type=positive(float), default=5e-5)
    add("--epochs", type=positive(float), default=1.0)
    add("--max-steps", type=steps, default=-1, help="stop after so many steps (-1: epochs)")
    add("--early-stop", type=int, default=5, help="saturated steps that end it (0: none do)")
    add(
        "--batch-size",
        type=positive(int),
        default=1,
        help="pairs at once, or twice as many responses with KTO",
    )
    add("--gradient-accumulation", type=positive(int), default=8, help="batches in a step")
    add("--max-length", type=positive(int), default=2048, help="tokens of prompt and response")
    add(
        "--max-lost-share",
        type=float,
        default=0.5,
        help="refuse when more than this share of the pairs is too long",
    )


def _add_costs(add: Callable[..., object]) -> None:
    add(
        "--group-by-length",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="pairs of like length into one batch, where it holds several",
    )
    add(
        "--precompute-reference",
        choices=["auto", "on", "off"],
        default="auto",
        help="once, beforehand (auto: with more than one epoch)",
    )
    add(
        "--precision",
        choices=["auto", "float32", "bfloat16"],
        default="auto",
        help="to compute in (auto: bfloat16 where the hardware has it)",
    )
    add("--report-to", choices=["none", "tensorboard", "trackio"], default="none")


def positive(convert: Callable[[str], float]) -> Callable[[str], float]:
    def number_above_0(text: str) -> float:  # named in argparse's complaint
        value = convert(text)
        if not value > 0:
            raise ValueError(text)
        return value

    return number_above_0


def steps(text: str) -> int:
    """TRL takes 0, and what is below -1, for a whole training."""
    value = int(text)
    if value != -1 and value < 1:
        raise argparse.ArgumentTypeError(f"{text} is neither -1 nor above 0")
    return value


def losses(text: str) -> str:
    if not set(text.split(",")) <= set(LOSS_TYPES):
        raise argparse.ArgumentTypeError(f"{text!r} is not of {', '.join(LOSS_TYPES)}")
    return text


def weights(text: str) -> str:
    if not all(float(weight) >= 0 for weight in text.split(",")):
        raise ValueError(text)
    return text
