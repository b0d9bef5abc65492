"""How long a dataset's texts are in a base model's tokens."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from schemas.errors import PairstreamError
from trainer.columns import Column
from trainer.composing import quantiles
from trainer.composition import Quantiles

SIDES = ("chosen", "rejected")


class TokenCounts(Struct, frozen=True, kw_only=True):
    """Of one dataset and tokenizer. What a chat template adds is not counted.

    `without_prompt` have none, and no lengths here: a training drops them. `prompts_too_long` reach
    `max_length` alone; `chosen_too_long` and `rejected_too_long` go beyond it with their prompt, in
    pairs whose prompt fits.
    """

    tokenizer: str
    max_length: int
    without_prompt: int
    prompts_too_long: int
    chosen_too_long: int
    rejected_too_long: int
    prompt: Quantiles | None
    chosen: Quantiles | None
    rejected: Quantiles | None


def load_counter(folder: Path) -> Callable[[str], int]:
    """A function from a text to the number of its tokens.

    Raises: PairstreamError when the folder has no tokenizer that can be read.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise PairstreamError(f"{file} is not there: name the folder of a base model")
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise PairstreamError(
            "counting tokens needs the package tokenizers: install it beside pairstream, or "
            "pairstream with its extra `train`"
        ) from error
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # its Rust code raises nothing narrower
        raise PairstreamError(f"{file} is no tokenizer: {error}") from error
    tokenizer.no_truncation()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def count_tokens(
    rows: Iterable[Mapping[str, Any]],
    count: Callable[[str], int],
    *,
    tokenizer: str,
    max_length: int,
) -> TokenCounts:
    lengths = {side: Column("Q") for side in ("prompt", *SIDES)}
    too_long = dict.fromkeys(("prompt", *SIDES), 0)
    without_prompt = 0
    for row in rows:
        if not row["prompt"]:
            without_prompt += 1
            continue
        found = {side: sum(count(message["content"]) for message in row[side]) for side in lengths}
        for side, length in found.items():
            lengths[side].append(length)
        if found["prompt"] >= max_length:
            too_long["prompt"] += 1
            continue
        for side in SIDES:
            too_long[side] += found["prompt"] + found[side] > max_length
    return TokenCounts(
        tokenizer=tokenizer,
        max_length=max_length,
        without_prompt=without_prompt,
        prompts_too_long=too_long["prompt"],
        chosen_too_long=too_long["chosen"],
        rejected_too_long=too_long["rejected"],
        prompt=quantiles(lengths["prompt"]),
        chosen=quantiles(lengths["chosen"]),
        rejected=quantiles(lengths["rejected"]),
    )
