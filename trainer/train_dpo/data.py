"""The rows of a dataset as plain text that fits into the model."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .boundary import SIDES, apart_from_the_prompt, token_ids
from .control import control_tokens, plain_text
from .refusals import BAD_DATA, Refused

TRAIN, EVAL = "train.jsonl", "eval.jsonl"

# What a row holds beside its prompt, and what such a row is called.
RESPONSES = {"dpo": ("chosen", "rejected"), "kto": ("completion",)}
CALLED = {"dpo": "pair of chat messages", "kto": "response with a label"}


WHY_CHARACTERS = 200

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

    A prompt may be empty: `prepare` counts it.

    Raises: ValueError, KeyError, TypeError.
    """
    fields = json.loads(line)
    row: Row = {}
    for side in ("prompt", *RESPONSES[method]):
        if not isinstance(fields[side], list) or not (fields[side] or side == "prompt"):
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
        dropped: the prompt alone is too long, or the row is odd.
        truncated: the end of a response will be cut; these rows are kept.
        odd: so many of the dropped ones have no prompt, or messages that the template refuses.
        first_odd: the line of the first of them, and why.
        highest_token: the highest id of a token in the rows.
    """

    rows: list[Row]
    identical: int
    dropped: int
    truncated: int
    odd: int = 0
    first_odd: str = ""
    highest_token: int = 0


class Odd(Exception):
    """The base cannot learn from this row."""


def prepare(rows: list[Row], tokenizer: Any, max_length: int) -> Share:
    """Make agents' text plain text and see what fits: TRL drops and cuts without a word.

    `rows` are those of all lines of a file.
    """
    kept: list[Row] = []
    odd: list[str] = []
    identical = too_long = truncated = highest = 0
    control = control_tokens(tokenizer)
    for number, row in enumerate((plain_text(row, control) for row in rows), 1):
        sides = [row[side] for side in SIDES if side in row]
        if len(sides) == 2 and sides[0] == sides[1]:
            identical += 1
            continue
        try:
            prompt = prompt_ids(row, tokenizer)
            if len(prompt) >= max_length:
                too_long += 1
                continue
            row, responses = responses_ids(row, tokenizer)
        except Odd as error:
            odd.append(f"line {number}: {error}")
            continue
        truncated += max(map(len, responses)) > max_length
        highest = max(highest, *(max(ids, default=0) for ids in (prompt, *responses)))
        kept.append(row)
    dropped = too_long + len(odd)
    first = odd[0] if odd else ""
    return Share(kept, identical, dropped, truncated, len(odd), first, highest)


def prompt_ids(row: Row, tokenizer: Any) -> list[int]:
    """Raises: Odd."""
    if not row["prompt"]:
        raise Odd("its prompt holds no messages")
    with refused_by_the_template():
        return token_ids(tokenizer, row["prompt"], asks=True)


def responses_ids(row: Row, tokenizer: Any) -> tuple[Row, list[list[int]]]:
    """The row as it can be trained on, and of each response the tokens with those of its prompt.

    Raises: Odd.
    """
    with refused_by_the_template():
        row = apart_from_the_prompt(row, tokenizer)
        whole = [row["prompt"] + row[side] for side in SIDES if side in row]
        return row, [token_ids(tokenizer, messages) for messages in whole]


@contextlib.contextmanager
def refused_by_the_template() -> Iterator[None]:
    from jinja2 import TemplateError

    try:
        yield
    except (TemplateError, TypeError) as error:
        why = " ".join(str(error).split())[:WHY_CHARACTERS]
        raise Odd(f"the base model's chat template does not take these messages: {why}") from error


def refuse_great_loss(train: Share, max_length: int, allowed: float) -> None:
    pairs = len(train.rows) + train.dropped
    if not pairs:
        raise Refused(BAD_DATA, "every pair has the same text on both sides")
    if train.rows and (train.dropped + train.truncated) / pairs <= allowed:
        return
    reasons = []
    if train.odd:
        reasons.append(f"{train.odd} of {pairs} cannot be learnt from ({TRAIN}, {train.first_odd})")
    if train.dropped > train.odd or train.truncated:
        reasons.append(
            f"{train.dropped - train.odd} of {pairs} prompts do not fit into {max_length} tokens "
            f"and {train.truncated} responses would be cut: raise --max-length or --max-lost-share"
        )
    raise Refused(BAD_DATA, "; ".join(reasons))


# Batches that are sorted among themselves: enough to find like lengths, few enough to stay mixed.
STRETCH = 50


def like_lengths_together(lengths: list[int], batch: int, seed: int) -> list[int]:
    """An order of pairs in which each batch holds like lengths, and batches come at random.

    The batch with the longest pair comes first, so that memory runs out at once if it does. One
    that is not full can only be the last one: it holds the shortest.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    order = list(range(len(lengths)))
    chance.shuffle(order)
    last = sorted(order, key=lengths.__getitem__)[: len(order) % batch]
    rest = set(last)
    order = [pair for pair in order if pair not in rest]
    stretches = _cut(order, STRETCH * batch)
    ordered = [pair for part in stretches for pair in sorted(part, key=lengths.__getitem__)]
    batches = _cut(ordered, batch)
    chance.shuffle(batches)
    longest = max(lengths)
    batches.sort(key=lambda pairs: lengths[pairs[-1]] < longest)
    return [pair for pairs in (*batches, last) for pair in pairs]


def _cut(items: list[int], size: int) -> list[list[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
