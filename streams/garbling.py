"""Garbled responses: the rejected side where an agent's work succeeded first time.

Contract, section 4.4. A garbler is given the prompt, so that one that samples from a model fits.
"""

import random
import re
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from schemas.events import Message
from schemas.rows import GarbleRequest, Pair, assistant_message

ResponseKind = Literal["strategy", "code"]


class Garbled(NamedTuple):
    """A spoilt text, the garbler that really made it, and how far it is from the good one."""

    text: str
    garbler: str
    distance: float | UnsetType = UNSET


class Garbler(Protocol):
    """Spoils a response.

    Guarantee of every garbler: the text is never equal to the response, the time is bounded, and
    the same seed gives the same text as far as the garbler can promise (`corrupt` always).
    """

    def __call__(
        self, prompt: list[Message], response: str, *, kind: ResponseKind, seed: str
    ) -> Garbled: ...


def garbled_pair(request: GarbleRequest, garbler: Garbler) -> Pair:
    """Complete a pair; its id is the seed, so a replay with `corrupt` gives the same bytes."""
    pair = request.pair
    response = pair.chosen[0].content
    garbled = garbler(pair.prompt, response, kind=request.response, seed=pair.pair_id)
    return complete(pair, garbled)


def complete(pair: Pair, garbled: Garbled) -> Pair:
    return msgspec.structs.replace(
        pair,
        rejected=assistant_message(garbled.text),
        garbler=garbled.garbler,
        garbled_distance=garbled.distance,
    )


# A garbled text may take so much more than twice what the good one takes.
SHORT_GARBLED_BYTES = 100_000


def garbled_bytes(request: GarbleRequest) -> int:
    """What the garbled text may take in its pair, at most: `corrupt` doubles each word and puts
    one before them; a model is asked for no more than 20,000 characters.
    """
    return 2 * len(msgspec.json.encode(request.pair.chosen[0].content)) + SHORT_GARBLED_BYTES


# A module that starts with one of these is no Python, whatever follows: none can begin a statement.
_NEVER_FIRST = (") ", "] ", "} ", "= ", ", ", ": ", ". ", "/ ", "% ", "| ", "> ", "else ")

_WORDS = re.compile(r"(\s+)")


def corrupt(
    prompt: list[Message],  # noqa: ARG001 - part of the protocol
    response: str,
    *,
    kind: ResponseKind,
    seed: str,
) -> Garbled:
    """Spoil the text itself: words swapped, dropped, doubled and scrambled, length about kept.

    Guarantee: a function of response, kind and seed; linear time; code does not compile.
    """
    # Only random() is drawn: its sequence is the one that Python promises to keep.
    rng = random.Random(f"{seed}\x1f{kind}")  # noqa: S311 - spoils text, guards nothing
    text = "".join(_spoil_words(_WORDS.split(response), rng.random))
    if kind == "code":
        text = _pick(_NEVER_FIRST, rng.random) + text.lstrip()
        if text == response:
            text = f") {text}"
    elif text == response:
        text = f"{response} {_scramble(response or 'nothing', rng.random)}"
    return Garbled(text, "corrupt")


def _spoil_words(parts: list[str], draw: Callable[[], float]) -> list[str]:
    """`parts`: words at even places, the white space between them at odd ones."""
    for place in range(0, len(parts), 2):
        fate = draw()
        if fate < 0.15 and place + 2 < len(parts):
            parts[place], parts[place + 2] = parts[place + 2], parts[place]
        elif fate < 0.25:
            parts[place] = ""
        elif fate < 0.35:
            parts[place] += parts[place]
        elif fate < 0.65:
            parts[place] = _scramble(parts[place], draw)
    return parts


def _scramble(word: str, draw: Callable[[], float]) -> str:
    letters = list(word)
    for place in range(len(letters) - 1, 0, -1):
        other = int(draw() * (place + 1))
        letters[place], letters[other] = letters[other], letters[place]
    return "".join(letters)


def _pick(choices: tuple[str, ...], draw: Callable[[], float]) -> str:
    return choices[int(draw() * len(choices))]
