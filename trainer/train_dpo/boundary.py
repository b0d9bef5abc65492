"""Where the prompt ends and a response begins, in tokens."""

from __future__ import annotations

from typing import Any

Messages = list[dict[str, str]]

# Where a row has responses: of a pair, or one that stands alone.
SIDES = ("chosen", "rejected", "completion")


def apart_from_the_prompt(row: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """The row, without leading blanks of responses that would melt into the prompt's last token.

    TRL cuts where both part, so that the prompt would lose its end: the model would be taught to
    answer what it is never asked. Tokenizers that keep such blanks apart keep them.
    """
    prompt: list[int] | None = None
    kept = dict(row)
    for side in SIDES:
        if side not in row or not row[side][0]["content"][:1].isspace():
            continue
        prompt = prompt or token_ids(tokenizer, row["prompt"], asks=True)
        if token_ids(tokenizer, row["prompt"] + row[side])[: len(prompt)] != prompt:
            first, *others = row[side]
            kept[side] = [{**first, "content": first["content"].lstrip()}, *others]
    return kept


def token_ids(tokenizer: Any, messages: Messages, *, asks: bool = False) -> list[int]:
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asks)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
