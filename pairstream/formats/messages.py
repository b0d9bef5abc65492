"""Chat messages of the conventions, with their text alone. Pure.

Content is a text, or parts: OpenAI's ({"type": "text", "text"}), OpenTelemetry's ({"type": "text",
"content"}), OpenInference's ({"message_content": {"type", "text"}}).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pairstream.formats.record import Unreadable
from schemas.events import Message

# Parts that carry words; tool calls and their results are not part of a message's text.
TEXTS = frozenset({"text", "input_text", "output_text"})
SILENT = frozenset(
    {
        "tool_call", "tool_use", "tool_call_response", "tool_result", "reasoning", "thinking",
        "refusal",
    }
)  # fmt: skip


def words_in(content: object) -> str:
    """The words of what a model said or a tool gave back, whatever else is in it."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part if isinstance(part, str) else _text(part) for part in parts]
    return "\n".join(text for text in texts if text)


def _text(part: object) -> str:
    part = part.get("message_content", part) if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or str(part.get("type", "text")) not in TEXTS:
        return ""
    text = part.get("text", part.get("content"))
    return text if isinstance(text, str) else ""


def text_of(content: object) -> str:
    """The words of a message that is handed on as it was.

    Raises: Unreadable when there is something else in it, such as a picture: the text alone would
    not be what was said.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Unreadable("the content of a message is neither text nor a list of parts")
    return "\n".join(_words(content))


def _words(parts: list[object]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, str):
            yield part
            continue
        if not isinstance(part, Mapping):
            raise Unreadable("a part of a message is no object")
        part = part.get("message_content", part)
        if not isinstance(part, Mapping):
            raise Unreadable("a part of a message is no object")
        kind = part.get("type", "text")
        if isinstance(kind, str) and kind in TEXTS:
            text = part.get("text", part.get("content"))
            if not isinstance(text, str):
                raise Unreadable("a text part of a message holds no text")
            yield text
        elif not isinstance(kind, str) or kind not in SILENT:
            raise Unreadable(f"a message holds a part of type {str(kind)[:40]}, which is no text")


def reasoning_of(content: object) -> str:
    """What a model thought, where its parts tell it."""
    parts = content if isinstance(content, list) else []
    thoughts = [
        part.get("content", part.get("thinking"))
        for part in parts
        if isinstance(part, Mapping) and part.get("type") in ("reasoning", "thinking")
    ]
    return "\n".join(thought for thought in thoughts if isinstance(thought, str))


def message_of(value: object) -> Message:
    """Raises: Unreadable for what is no message."""
    if not isinstance(value, Mapping) or not isinstance(value.get("role"), str):
        raise Unreadable("a message has no role")
    return Message(value["role"], text_of(content_of(value)))


def content_of(message: Mapping[str, Any]) -> object:
    for name in ("content", "parts", "contents"):
        if message.get(name) is not None:
            return message[name]
    return None
