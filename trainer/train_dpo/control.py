"""Control tokens, which agents' text may spell and must not become."""

from __future__ import annotations

import re
from typing import Any

NEVER = "(?!)"  # a pattern that matches nothing

BARS = ("|", "\uff5c")  # as in <|user|>; DeepSeek's are wide


def control_texts(tokenizer: Any) -> set[str]:
    """What the tokenizer would read as control tokens, also those that have no name.

    Some models mark their tokens of roles as ordinary ones: the chat template tells them, and bars
    tell them from other added tokens in it. Those are text: blanks, words, and `<think>`, which a
    model writes itself.
    """
    written = template_text(tokenizer)
    added = {
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.special or (token.content in written and _is_a_mark(token.content))
    }
    return added.union(tokenizer.all_special_tokens) - {""}


def _is_a_mark(content: str) -> bool:
    return any(bar in content for bar in BARS)


def template_text(tokenizer: Any) -> str:
    template = tokenizer.chat_template
    return "\n".join(template.values()) if isinstance(template, dict) else template or ""


def control_ids(tokenizer: Any) -> set[int]:
    texts = control_texts(tokenizer)
    added = tokenizer.added_tokens_decoder.items()
    return {number for number, token in added if token.content in texts}.union(
        tokenizer.all_special_ids
    )


def control_tokens(tokenizer: Any) -> re.Pattern[str]:
    """Matches the text of any of them."""
    longest_first = sorted(control_texts(tokenizer), key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first)) or NEVER)


def plain_text(row: dict[str, Any], control: re.Pattern[str]) -> dict[str, Any]:
    """Break control tokens up by a space: agents' text is only text."""

    def clean(text: str) -> str:
        return control.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    return {
        side: [{key: clean(text) for key, text in message.items()} for message in value]
        if isinstance(value, list)
        else value
        for side, value in row.items()
    }
