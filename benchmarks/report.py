"""What was measured, held against its goals: medians, ratios, judgement, JSON and table. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Figures = dict[str, float]


@dataclass(frozen=True)
class Goal:
    """A bound that the median of one figure has to keep."""

    figure: str
    sense: Literal["at least", "at most"]
    bound: float
    unit: str = ""

    def is_reached_by(self, value: float) -> bool:
        return value >= self.bound if self.sense == "at least" else value <= self.bound


@dataclass
class Measured:
    """One row of the table.

    Attributes:
        turns: the figures of each turn.
        facts: what must be known to read them: loads, versions, shares.
        correctness: by name of a check, whether it holds. A time counts only if all do.
        notes: sentences for who reads the figures.
    """

    turns: list[Figures] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    correctness: dict[str, bool] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def is_correct(self) -> bool:
        return all(self.correctness.values())

    @property
    def medians(self) -> Figures:
        """Of each figure that every turn has."""
        return medians(self.turns)


def medians(turns: Sequence[Figures]) -> Figures:
    """Of each figure, over the turns that have it."""
    names = dict.fromkeys(name for turn in turns for name in turn)
    return {name: statistics.median(turn[name] for turn in turns if name in turn) for name in names}


def ratio(ours: float, theirs: float) -> float:
    """How many times theirs ours is."""
    if theirs <= 0:
        raise ValueError(f"a ratio to {theirs} says nothing")
    return ours / theirs


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    place = -(-len(ordered) * share // 1) - 1
    return ordered[max(0, int(place))]


@dataclass(frozen=True)
class Judgement:
    """One goal and what became of it; `reached` is None where that cannot be said."""

    goal: Goal
    median: float | None
    reached: bool | None


def judge(goals: Sequence[Goal], measured: Measured, *, scale: float = 1) -> list[Judgement]:
    """What is not correct has reached nothing; goals are those of whole loads, of `scale` 1."""
    return [_judgement(goal, measured, scale) for goal in goals]


def _judgement(goal: Goal, measured: Measured, scale: float) -> Judgement:
    median = measured.medians.get(goal.figure)
    if median is None or scale < 1:
        return Judgement(goal, median, None)
    return Judgement(goal, median, measured.is_correct and goal.is_reached_by(median))


def document(
    letter: str, what: str, goals: Sequence[Goal], measured: Measured, around: Mapping[str, Any]
) -> dict[str, Any]:
    """One row as it is written down; `around` tells of the machine, the time and the options."""
    scale = around["options"]["scale"]
    return {
        "row": letter,
        "what": what,
        "goals": [
            asdict(each.goal) | {"median": each.median, "reached": each.reached}
            for each in judge(goals, measured, scale=scale)
        ],
        "correct": measured.is_correct,
        "correctness": measured.correctness,
        "medians": measured.medians,
        "turns": measured.turns,
        "facts": measured.facts,
        "notes": measured.notes,
        **around,
    }


def table(documents: Sequence[Mapping[str, Any]]) -> str:
    """Row, what, goal, measured, reached: one line a goal."""
    lines = [("", "what", "goal", "measured", "reached")]
    for each in documents:
        lines += [_line(each, goal) for goal in each["goals"]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _line(row: Mapping[str, Any], goal: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    unit = f" {goal['unit']}" if goal["unit"] else ""
    measured = "not measured" if goal["median"] is None else f"{readable(goal['median'])}{unit}"
    verdicts = {True: "yes", False: "NO", None: "-"}
    verdict = verdicts[goal["reached"]] if row["correct"] else "NOT CORRECT"
    bound = f"{goal['sense']} {readable(goal['bound'])}{unit}"
    return (
        row["row"],
        f"{row['what']}: {goal['figure'].replace('_', ' ')}",
        bound,
        measured,
        verdict,
    )


def readable(number: float) -> str:
    """Three digits that count, thousands set apart."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
