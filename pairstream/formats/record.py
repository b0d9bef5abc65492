"""What every format is read into, before it becomes events: a run as it was recorded.

The names of tools and scores that the conventions leave open are the user's to choose.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from msgspec import Struct

from schemas.events import Event, Message

Fault = Literal["infrastructure", "cancelled"]


class Source(NamedTuple):
    """A file as it was given, and its bytes."""

    name: str
    content: bytes


class Mapped(NamedTuple):
    """An event, and the place in the file that it comes from."""

    place: str
    event: Event


class Unmapped(NamedTuple):
    """What should have been a run or an attempt, and why it is none."""

    place: str
    why: str


class LeftOut(NamedTuple):
    """An attempt that the rules leave out: it ran, and nobody says what it was worth."""

    place: str


class Plan(NamedTuple):
    """What the agent said before it wrote code."""

    time: datetime
    text: str


class Tried(NamedTuple):
    """A piece of code that was run, or was to be.

    `score` is its own, None where nobody judged it alone. `error` stands only where it failed.
    `in_text`: it stood in a message, and no tool was called.
    """

    place: str
    time: datetime
    code: str
    compiled: bool
    ran: bool
    error: str | None = None
    score: float | None = None
    in_text: bool = False


Step = Plan | Tried


class Recorded(Struct, frozen=True, kw_only=True):
    """One run of an agent.

    `steps` stand in the order in which they happened. `score` and `fault` are the whole run's.
    `ended` is None where nothing says that the run is over.
    """

    place: str
    run_id: str
    began: datetime
    prompt: list[Message]
    steps: list[Step]
    score: float | None = None
    fault: Fault | None = None
    ended: datetime | None = None
    agent_id: str | None = None
    task_id: str | None = None
    policy_id: str | None = None


class Choices(Struct, frozen=True):
    """What the user decides where a format leaves it open.

    `code_tools`: tools that run code, besides the known ones. `score_name`: which of several
    scores counts; None: the only one.
    """

    code_tools: frozenset[str] = frozenset()
    score_name: str | None = None


class Unreadable(Exception):
    """The file, or a part of it, is not of its format; the message says why."""


def chosen_score(scores: Mapping[str, float], choices: Choices) -> float | None:
    """The score that counts; None where there is none.

    Raises: Unreadable when several are there and none was chosen, or it is no number from 0.
    """
    if choices.score_name is not None:
        score = scores.get(choices.score_name)
    elif len(scores) > 1:
        raise Unreadable(f"several scores ({', '.join(sorted(scores))}): choose with --score NAME")
    else:
        score = next(iter(scores.values()), None)
    if score is not None and not (math.isfinite(score) and score >= 0):
        raise Unreadable("its score is negative or not finite: a score is 0 or more")
    return score
