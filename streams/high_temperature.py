"""What is asked of a language model at high temperature, and which of its texts may stand.

Contract, section 4.4. Whatever a model says is data: it is cut and cleaned, never read or run.
"""

import hashlib
import re
from collections import Counter
from typing import NamedTuple, Protocol

from schemas.events import Message
from schemas.rows import GarbleRequest
from streams.garbling import Garbled

HIGH_TEMPERATURE = "high_temperature"

# Beyond it a text is not asked for: a model would sit over it for minutes.
MAX_CHARACTERS = 20_000

# A text below this share of the good one's length would show by its length alone that it is bad.
MIN_SHARE = 0.5

# Characters that count together for the distance.
GRAM = 3

# Texts that tokenizers of common models read as control tokens.
_CONTROL_TOKEN = re.compile(
    r"<[|\uff5c][^<>\s]{1,64}[|\uff5c]>"
    r"|</?(?:s|bos|eos|pad|unk|mask|start_of_turn|end_of_turn|start_of_image|end_of_text)>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
    r"|<</?SYS>>"
)
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class NoSample(Exception):
    """There is no text of the model's that may stand; `reason` is one word, never a text."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ModelFailed(NoSample):
    """The model itself is to blame: it is down, swamped or broken."""


class Ask(NamedTuple):
    """One text that a model is asked for.

    Attributes:
        good: what the text should be as long as.
        seed: 31 bits, so that every sampler takes it.
    """

    prompt: list[Message]
    good: str
    seed: int

    @property
    def tokens(self) -> int:
        """How many make about the good text's length, where the tokenizer is not known.

        Counted by bytes, as a token is about three of them in any script.
        """
        return _tokens(self.good) + 8

    @property
    def prompt_tokens(self) -> int:
        return sum(_tokens(message.content) + 4 for message in self.prompt)


class Model(Protocol):
    """Says something at high temperature, in bounded time.

    `at_once`: how many texts it may be asked for at the same time.
    """

    at_once: int

    async def sample(self, ask: Ask) -> str:
        """Raises: NoSample."""

    async def aclose(self) -> None: ...


def _tokens(text: str) -> int:
    return len(text.encode(errors="replace")) // 3


def ask_for(request: GarbleRequest) -> Ask:
    """Raises: NoSample when there is nothing that a model could give."""
    pair = request.pair
    good = pair.chosen[0].content
    if not good.strip():
        raise NoSample("blank_response")
    if len(good) > MAX_CHARACTERS:
        raise NoSample("long_response")
    digest = hashlib.sha256(pair.pair_id.encode()).digest()
    return Ask(pair.prompt, good, int.from_bytes(digest[:4]) >> 1)


def judge(ask: Ask, said: str) -> Garbled:
    """The model's text as it may stand.

    Guarantee: it can be encoded, holds no control characters or control tokens, does not begin
    with white space (which would merge with the prompt's end), is not blank, has between a half
    and the whole of the good text's length, and differs from it in more than white space.

    Raises: NoSample.
    """
    good = ask.good
    text = said[: 4 * MAX_CHARACTERS].encode(errors="replace").decode()
    text = _CONTROL_CHARACTER.sub("", text).lstrip()
    text = broken_up(text)[: len(good)].rstrip()
    if not text:
        raise NoSample("blank_text")
    if len(text) < MIN_SHARE * len(good.strip()):
        raise NoSample("short_text")
    if text.split() == good.split():
        raise NoSample("same_text")
    return Garbled(text, HIGH_TEMPERATURE, distance(good, text))


def broken_up(text: str) -> str:
    """Control tokens with a space in them, so that they are text to every tokenizer."""
    return _CONTROL_TOKEN.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)


def distance(good: str, garbled: str) -> float:
    """From 0 (equal) to 1 (nothing in common), in linear time and for any script.

    1 minus the Dice coefficient of the two texts' character trigrams, each as often as it occurs:
    it sees what moved, and needs no words, which code and many scripts do not have.
    """
    ours, theirs = _grams(good), _grams(garbled)
    common = sum((ours & theirs).values())
    return round(1 - 2 * common / (ours.total() + theirs.total()), 4)


def _grams(text: str) -> Counter[str]:
    """A text that is too short for one is its own."""
    last = max(1, len(text) - GRAM + 1)
    return Counter(text[place : place + GRAM] for place in range(last))
