"""Whether a trained candidate may become `latest`: judged by what its training measured. Pure.

Base and candidate are held against each other on the held-out pairs. A candidate that is the base
never passes, where there are pairs enough to judge by.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec
from msgspec import Struct

from schemas.settings import TrainingSettings
from trainer.verdict import Check, CheckName, Verdict

# Where a script writes down what is judged here.
FIGURES = "gate"

# Of each two tensors of an adapter one starts at zero, and moves by the first step.
LEAST_MOVED = 0.5

# What a token of the chosen side keeps at least of its likelihood, in the geometric mean.
KEPT_LIKELIHOOD = 0.99

# Half and double tell a change of manners from a new habit; a few tokens are luck where texts are
# short.
LENGTH_FACTOR, LENGTH_SLACK = 2.0, 8.0

# Shares of few prompts jump: one prompt more is no degeneration, nor is a tenth of them.
SHARE_SLACK = 0.1
ROUNDING = 1e-9

OFF = "the gate is off"
NOT_MEASURED = "the training measured nothing to judge by"


class Generations(Struct, frozen=True):
    """What a model writes on held-out prompts; shares of the texts, null where no number came."""

    prompts: int
    mean_tokens: float | None = None
    repetition: float | None = None
    special_tokens: float | None = None
    empty: float | None = None


class Figures(Struct, frozen=True):
    """One model on the held-out pairs; null where no number came.

    `accuracy`: share of pairs whose chosen side has the higher log-probability. `margin`: mean of
    chosen less rejected. `chosen_logps`: log-probability of a token of the chosen side, the mean
    of the pairs' means.
    """

    accuracy: float | None = None
    margin: float | None = None
    chosen_logps: float | None = None
    generations: Generations | None = None


class Moved(Struct, frozen=True):
    """How far the adapter is from where it started; `share` is of its tensors."""

    share: float | None
    largest_change: float | None


class Measured(Struct, frozen=True):
    """What a training script leaves in its result under `gate`; `pairs` were held out.

    `unpaired`: single responses were, so many of the rarer kind at least. Then there is no
    accuracy, and the other figures are of the means of good ones and of bad ones.
    """

    pairs: int
    moved: Moved
    base: Figures | None = None
    candidate: Figures | None = None
    unpaired: bool = False


class _Limit(NamedTuple):
    low: float = -math.inf
    high: float = math.inf
    excludes_low: bool = False

    def holds(self, value: float) -> bool:
        above = value > self.low if self.excludes_low else value >= self.low
        return above and value <= self.high

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"at most {self.high:.4g}"
        if math.isinf(self.high):
            return f"{'more than' if self.excludes_low else 'at least'} {self.low:.4g}"
        return f"{self.low:.4g} to {self.high:.4g}"


class _Rule(NamedTuple):
    """`limit` is that of the candidate, given the base's figure."""

    measure: Callable[[Figures], float | None]
    limit: Callable[[float], _Limit]


_RULES: dict[CheckName, _Rule] = {
    "accuracy": _Rule(lambda of: of.accuracy, lambda base: _Limit(low=base)),
    "margin": _Rule(lambda of: of.margin, lambda base: _Limit(low=base, excludes_low=True)),
    "likelihood": _Rule(
        lambda of: of.chosen_logps, lambda base: _Limit(low=base + math.log(KEPT_LIKELIHOOD))
    ),
}


def _length_limit(base: float) -> _Limit:
    low = max(0.0, base / LENGTH_FACTOR - LENGTH_SLACK)
    return _Limit(low=low, high=base * LENGTH_FACTOR + LENGTH_SLACK)


def _generation_rules(prompts: int) -> dict[CheckName, _Rule]:
    def share_limit(base: float) -> _Limit:
        return _Limit(high=base + max(SHARE_SLACK, 1 / prompts) + ROUNDING)

    def of(name: str) -> Callable[[Figures], float | None]:
        return lambda figures: getattr(figures.generations, name)

    return {
        "length": _Rule(of("mean_tokens"), _length_limit),
        "repetition": _Rule(of("repetition"), share_limit),
        "special_tokens": _Rule(of("special_tokens"), share_limit),
        "empty": _Rule(of("empty"), share_limit),
    }


def measured_of(figures: object) -> Measured:
    """Raises: msgspec.ValidationError."""
    return msgspec.convert(figures, Measured)


def judge(result: Mapping[str, object], settings: TrainingSettings) -> Verdict:
    """By the figures of a training that succeeded; `result` is what its script left."""
    if settings.gate == "off":
        return Verdict(passed=True, note=OFF)
    if FIGURES not in result:
        return Verdict(passed=True, note=NOT_MEASURED)
    try:
        measured = measured_of(result[FIGURES])
    except msgspec.ValidationError as error:
        return _verdict(0, None, [Check(name="readable", passed=False, note=str(error))])
    return judge_figures(measured, min_pairs=settings.gate_min_pairs)


def judge_figures(measured: Measured, *, min_pairs: int) -> Verdict:
    """Hold the candidate against the base; with fewer pairs than `min_pairs` only what needs no
    comparison.
    """
    checks = [_check_finite(measured), _check_moved(measured.moved)]
    if measured.pairs < max(min_pairs, 1):
        return _verdict(measured.pairs, _too_few(measured, max(min_pairs, 1)), checks)
    return _verdict(measured.pairs, None, [*checks, *_compare(measured)])


def _too_few(measured: Measured, wanted: int) -> str:
    if measured.unpaired:
        return (
            f"too few held-out responses to judge by: {measured.pairs} of the rarer kind (good or "
            f"bad), of at least {wanted}"
        )
    return f"too few held-out pairs to judge by: {measured.pairs} of at least {wanted}"


def _verdict(pairs: int, note: str | None, checks: list[Check]) -> Verdict:
    passed = all(check.passed is not False for check in checks)
    return Verdict(passed=passed, pairs=pairs, note=note, checks=checks)


def _check_finite(measured: Measured) -> Check:
    """Every figure that there must be is a number."""
    wrong = [f"moved.{name}" for name in _not_finite(measured.moved)]
    for name, figures in (("base", measured.base), ("candidate", measured.candidate)):
        if figures is None:
            wrong += [name] if measured.pairs else []
            continue
        found = [each for each in _not_finite(figures) if not _is_missing(each, measured)]
        wrong += [f"{name}.{each}" for each in found]
        if figures.generations is not None and figures.generations.prompts:
            wrong += [f"{name}.generations.{each}" for each in _not_finite(figures.generations)]
    note = f"no number: {', '.join(wrong)}" if wrong else None
    return Check(name="finite", passed=not wrong, note=note)


def _not_finite(figures: Struct) -> list[str]:
    return [
        name
        for name, value in msgspec.structs.asdict(figures).items()
        if name != "generations" and (value is None or not math.isfinite(value))
    ]


def _is_missing(name: str, measured: Measured) -> bool:
    """Whether there cannot be such a figure."""
    return measured.unpaired and name == "accuracy"


def _check_moved(moved: Moved) -> Check:
    if not (moved.share and moved.largest_change):  # none, zero or no number
        return Check(name="moved", passed=False, candidate=0.0, note="the adapter did not move")
    limit = _Limit(low=LEAST_MOVED)
    return Check(
        name="moved", passed=limit.holds(moved.share), candidate=moved.share, limit=str(limit)
    )


def _compare(measured: Measured) -> list[Check]:
    base, candidate = measured.base, measured.candidate
    if base is None or candidate is None:
        return []  # `finite` says so
    checks = [
        _check(name, rule, base, candidate)
        for name, rule in _RULES.items()
        if not _is_missing(name, measured)
    ]
    texts = [each.generations for each in (base, candidate)]
    prompts = min(0 if text is None else text.prompts for text in texts)
    for name, rule in _generation_rules(max(prompts, 1)).items():
        if prompts:
            checks.append(_check(name, rule, base, candidate))
        else:
            checks.append(Check(name=name, passed=None, note="nothing was generated"))
    return checks


def _check(name: CheckName, rule: _Rule, base: Figures, candidate: Figures) -> Check:
    before, now = rule.measure(base), rule.measure(candidate)
    if before is None or now is None:
        return Check(name=name, passed=None, base=before, candidate=now, note="no number")
    limit = rule.limit(before)
    return Check(name=name, passed=limit.holds(now), base=before, candidate=now, limit=str(limit))
