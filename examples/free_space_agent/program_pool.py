"""Writes without a model: draws strategies and programs of different worth from `pool.md`.

A run has a form, as people do: one that gets things right at once, one that learns from its
errors, one whose programs run and help nothing, one whose programs do not run.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from program_writer import Attempt, Message

_POOL = Path(__file__).with_name("pool.md")
_PLAN = re.compile(r"^## .*$", re.MULTILINE)
_WORDING = re.compile(r"^- (.+)$", re.MULTILINE)
_PROGRAM = re.compile(r"^```python (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Worths of the programs of one strategy, in the order of its attempts; the last one goes on.
Course = tuple[str, ...]

_STEADY: tuple[Course, ...] = (("best",), ("good",), ("partial",))
_LEARNING: tuple[Course, ...] = (
    ("syntax_error", "best"),
    ("runtime_error", "good"),
    ("no_effect", "best"),
    ("harmful", "best"),
    ("syntax_error", "runtime_error", "partial"),
    ("no_effect", "harmful", "good"),
)
_FRUITLESS: tuple[Course, ...] = (
    ("no_effect", "harmful"),
    ("harmful", "no_effect"),
    ("syntax_error", "no_effect"),
)
_BROKEN: tuple[Course, ...] = (
    ("syntax_error", "runtime_error", "syntax_error"),
    ("runtime_error", "syntax_error"),
)

# Courses of a run's first strategy, and of those after it.
Form = tuple[tuple[Course, ...], tuple[Course, ...]]

_FORMS: tuple[Form, ...] = (
    *[(_STEADY, _STEADY)] * 4,
    *[(_LEARNING, _LEARNING + _STEADY + _FRUITLESS)] * 5,
    *[(_FRUITLESS, _FRUITLESS)] * 2,
    (_BROKEN, _BROKEN),
)


@dataclass(frozen=True)
class Plan:
    """A way to free space, in several wordings, with its programs by worth."""

    wordings: tuple[str, ...]
    programs: dict[str, str]


def read_plans() -> list[Plan]:
    """The plans of `pool.md`."""
    _, *parts = _PLAN.split(_POOL.read_text())
    return [Plan(tuple(_WORDING.findall(part)), dict(_PROGRAM.findall(part))) for part in parts]


class Pool:
    """Writers that draw. Every dozen of runs has each form in its share, in an order of its own."""

    policy_id = "pool"

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._plans = read_plans()

    def for_run(self, number: int) -> "PoolWriter":
        dozen, place = divmod(number, len(_FORMS))
        forms = random.Random(f"forms {self._seed} {dozen}").sample(_FORMS, len(_FORMS))  # noqa: S311
        rng = random.Random(f"writer {self._seed} {number}")  # noqa: S311 - draws, guards nothing
        return PoolWriter(self._plans, forms[place], rng)


class PoolWriter:
    """One run's draws."""

    def __init__(self, plans: Sequence[Plan], form: Form, rng: random.Random) -> None:
        self._unused = rng.sample(plans, len(plans))
        self._first, self._later = form
        self._rng = rng
        self._begun: dict[str, tuple[Plan, Course]] = {}

    def propose(self, prompt: Sequence[Message]) -> str:
        plan = self._unused.pop()
        courses = self._later if self._begun else self._first
        strategy = self._rng.choice(plan.wordings)
        self._begun[strategy] = plan, self._rng.choice(courses)
        return strategy

    def program(self, strategy: str, failed: Sequence[Attempt]) -> str:
        plan, course = self._begun[strategy]
        worth = course[min(len(failed), len(course) - 1)]
        if worth == "syntax_error":
            return without_a_colon(plan.programs["best"], self._rng)
        if worth == "runtime_error":
            return without_an_import(plan.programs["best"], self._rng)
        return plan.programs[worth]


def without_a_colon(program: str, rng: random.Random) -> str:
    """The program with one block left unopened: it does not compile."""
    lines = program.splitlines()
    opening = [number for number, line in enumerate(lines) if line.endswith(":")]
    spoilt = rng.choice(opening)
    lines[spoilt] = lines[spoilt][:-1]
    return "\n".join(lines) + "\n"


def without_an_import(program: str, rng: random.Random) -> str:
    """The program with one of its imports forgotten: it fails where it needs it."""
    lines = program.splitlines()
    imports = [number for number, line in enumerate(lines) if line.startswith(("import", "from"))]
    del lines[rng.choice(imports)]
    return "\n".join(lines) + "\n"
