"""The flags."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from . import __doc__ as purpose


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
    add("--quantization", choices=["nf4", "none"], default="nf4", help="of the base's weights")
    add(
        "--reference",
        choices=["adapter", "model"],
        default="adapter",
        help="the base with the adapter disabled, or a second loaded model",
    )
    add("--seed", type=int, default=0)
    add("--learning-rate", type=positive(float), default=5e-5)
    add("--beta", type=positive(float), default=0.1, help="DPO's strength of the reference")
    add("--sft-weight", type=float, default=0.0, help="of the chosen side's likelihood")
    add("--epochs", type=positive(float), default=1.0)
    add("--max-steps", type=int, default=-1, help="stop after so many steps (-1: epochs)")
    add("--batch-size", type=positive(int), default=1, help="pairs at once")
    add("--gradient-accumulation", type=positive(int), default=8, help="batches in a step")
    add("--max-length", type=positive(int), default=2048, help="tokens of prompt and response")
    add("--lora-rank", type=positive(int), default=16)
    add("--lora-alpha", type=positive(int), default=32)
    add(
        "--max-lost-share",
        type=float,
        default=0.5,
        help="refuse when more than this share of the pairs is too long",
    )
    return parser.parse_args(arguments)


def positive(convert: Callable[[str], float]) -> Callable[[str], float]:
    def number_above_0(text: str) -> float:  # named in argparse's complaint
        value = convert(text)
        if not value > 0:
            raise ValueError(text)
        return value

    return number_above_0
