"""The rows of a dataset as plain text that fits into the model."""

from __future__ import annotations

import hashlib
import json
import random
import re
from pathlib import Path
from typing import Any, NamedTuple

from .boundary import SIDES, apart_from_the_prompt
from .refusals import BAD_DATA, Refused

TRAIN, EVAL = "train.jsonl", "eval.jsonl"

# What a row holds beside its prompt, and what such a row is called.
RESPONSES = {"dpo": ("chosen", "rejected"), "kto": ("completion",)}
CALLED = {"dpo": "pair of chat messages", "kto": "response with a label"}


NEVER = "(?!)"  # a pattern that matches nothing


# Chat messages by side; with KTO a `label` too, whether the response is a good one.
Row = dict[str, Any]


def read_dataset(folder: Path, method: str = "dpo") -> tuple[list[Row], list[Row], dict[str, str]]:
    """The rows to train on, those held out, and the SHA-256 of each file."""
    try:
        files = json.loads((folder / "manifest.json").read_bytes())["files"]
        hashes = {name: files[name]["sha256"] for name in (TRAIN, EVAL)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(BAD_DATA, f"{folder} has no manifest: publish it first") from error
    train, held_out = (read_rows(folder / name, sha256, method) for name, sha256 in hashes.items())
    if not train:
        what = "pairs" if method == "dpo" else "responses"
        raise Refused(BAD_DATA, f"{folder} has no {what} to train on")
    return train, held_out, hashes


def read_rows(path: Path, sha256: str, method: str = "dpo") -> list[Row]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refused(BAD_DATA, f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Refused(BAD_DATA, f"{path} is not what its manifest says (SHA-256)")
    rows = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            rows.append(read_row(line, method))
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(
                BAD_DATA,
                f"{path}, line {number} is no {CALLED[method]}: {type(error).__name__}: {error}",
            ) from error
    return rows


def read_row(line: bytes, method: str = "dpo") -> Row:
    """Prompt and responses, and the label of one that stands alone; other columns are left out.

    Raises: ValueError, KeyError, TypeError.
    """
    fields = json.loads(line)
    row: Row = {}
    for side in ("prompt", *RESPONSES[method]):
        if not isinstance(fields[side], list) or not fields[side]:
            raise ValueError(f"{side} holds no messages")
        row[side] = [{key: message[key] for key in ("role", "content")} for message in fields[side]]
        for text in (text for message in row[side] for text in message.values()):
            if not isinstance(text, str):
                raise ValueError(f"a message of {side} is no text")
            text.encode()  # half a surrogate pair is no text either
    if method == "kto":
        if not isinstance(fields["label"], bool):  # TRL takes any number, and 0.5 for good
            raise ValueError("label is neither true nor false")
        row["label"] = fields["label"]
    return row


class Share(NamedTuple):
    """The rows of one file that teach something, and how many do not, or not wholly.

    Attributes:
        identical: the same text on both sides.
        dropped: the prompt alone is too long.
        truncated: the end of a response will be cut; these rows are kept.
    """

    rows: list[Row]
    identical: int
    dropped: int
    truncated: int


def prepare(rows: list[Row], tokenizer: Any, max_length: int) -> Share:
    """Make agents' text plain text and see what fits: TRL drops and cuts without a word."""
    kept: list[Row] = []
    identical = dropped = truncated = 0
    control = control_tokens(tokenizer)
    for row in (plain_text(row, control) for row in rows):
        sides = [row[side] for side in SIDES if side in row]
        if len(sides) == 2 and sides[0] == sides[1]:
            identical += 1
        elif count_tokens(tokenizer, row["prompt"], generation=True) >= max_length:
            dropped += 1
        else:
            row = apart_from_the_prompt(row, tokenizer)
            responses = (row["prompt"] + row[side] for side in SIDES if side in row)
            longest = max(count_tokens(tokenizer, messages) for messages in responses)
            truncated += longest > max_length
            kept.append(row)
    return Share(kept, identical, dropped, truncated)


def control_tokens(tokenizer: Any) -> re.Pattern[str]:
    """Matches what the tokenizer would read as control tokens, also those that have no name."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    tokens = added.union(tokenizer.all_special_tokens) - {""}
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first)) or NEVER)


def plain_text(row: Row, control: re.Pattern[str]) -> Row:
    """Break control tokens up by a space: agents' text is only text."""

    def clean(text: str) -> str:
        return control.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    return {
        side: [{key: clean(text) for key, text in message.items()} for message in value]
        if isinstance(value, list)
        else value
        for side, value in row.items()
    }


def count_tokens(
    tokenizer: Any, messages: list[dict[str, str]], *, generation: bool = False
) -> int:
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generation
        )
    except TemplateError as error:
        raise Refused(
            BAD_DATA, f"the base model's chat template does not take these messages: {error}"
        ) from error
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def refuse_great_loss(train: Share, max_length: int, allowed: float) -> None:
    pairs = len(train.rows) + train.dropped
    if not pairs:
        raise Refused(BAD_DATA, "every pair has the same text on both sides")
    if not train.rows or (train.dropped + train.truncated) / pairs > allowed:
        raise Refused(
            BAD_DATA,
            f"{train.dropped} of {pairs} prompts do not fit into {max_length} tokens and "
            f"{train.truncated} responses would be cut: raise --max-length or --max-lost-share",
        )


# Batches that are sorted among themselves: enough to find like lengths, few enough to stay mixed.
STRETCH = 50


def like_lengths_together(lengths: list[int], batch: int, seed: int) -> list[int]:
    """An order of pairs in which each batch holds like lengths, and batches come at random.

    The batch with the longest pair comes first, so that memory runs out at once if it does.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    order = list(range(len(lengths)))
    chance.shuffle(order)
    stretches = _cut(order, STRETCH * batch)
    ordered = [pair for part in stretches for pair in sorted(part, key=lengths.__getitem__)]
    *batches, last = _cut(ordered, batch)
    if batches and len(last) == batch:
        batches.append(last)
        last = []
    chance.shuffle(batches)
    batches.sort(key=lambda pairs: lengths[pairs[-1]] < max(lengths))
    return [pair for pairs in (*batches, last) for pair in pairs]


def _cut(items: list[int], size: int) -> list[list[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
