"""The gate: what a candidate fails by, each thing alone; and what no figures can turn round."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.settings import TrainingSettings
from tests.streams.histories import MODEST
from tests.trainer.judged import BASE, BETTER, GOOD, MOVED, WELL
from trainer.gate import Figures, Generations, Measured, Moved, judge, judge_figures
from trainer.verdict import Check, Verdict

MIN_PAIRS = 20

NAN, INFINITE = math.nan, -math.inf


def judged(measured: Measured, min_pairs: int = MIN_PAIRS) -> Verdict:
    return judge_figures(measured, min_pairs=min_pairs)


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if check.passed is False]


def candidate(**figures: Any) -> Measured:
    return replace(GOOD, candidate=replace(BETTER, **figures))


def writing(**figures: Any) -> Measured:
    return candidate(generations=replace(WELL, **figures))


def from_base(base: Generations, now: Generations) -> Measured:
    return replace(
        GOOD, base=replace(BASE, generations=base), candidate=replace(BETTER, generations=now)
    )


def unpaired(measured: Measured) -> Measured:
    """The same of single responses, which have no accuracy."""
    assert measured.base is not None
    assert measured.candidate is not None
    return replace(
        measured,
        unpaired=True,
        base=replace(measured.base, accuracy=None),
        candidate=replace(measured.candidate, accuracy=None),
    )


def test_single_responses_are_judged_by_all_but_accuracy() -> None:
    names = [check.name for check in judged(GOOD).checks if check.name != "accuracy"]

    verdict = judged(unpaired(GOOD))
    assert (verdict.word, [check.name for check in verdict.checks]) == ("passed", names)
    assert failed(judged(unpaired(candidate(margin=BASE.margin)))) == ["margin"]
    assert failed(judged(unpaired(candidate(margin=None)))) == ["finite"]
    assert failed(judged(unpaired(candidate(chosen_logps=BASE.chosen_logps - 1)))) == ["likelihood"]
    assert failed(judged(replace(unpaired(GOOD), unpaired=False))) == ["finite"]


def test_too_few_single_responses_compare_nothing() -> None:
    verdict = judged(replace(unpaired(GOOD), pairs=19))

    assert verdict.note == (
        "too few held-out responses to judge by: 19 of the rarer kind (good or bad), of at least 20"
    )
    assert (verdict.word, len(verdict.checks)) == ("passed in part", 2)


def test_a_candidate_that_is_better_in_all_passes_every_check() -> None:
    verdict = judged(GOOD)

    assert verdict.passed
    assert verdict.note is None
    assert verdict.pairs == 40
    assert [check.name for check in verdict.checks] == [
        "finite", "moved", "accuracy", "margin", "likelihood", "length", "repetition",
        "special_tokens", "empty",
    ]  # fmt: skip
    assert all(check.passed for check in verdict.checks)
    assert verdict.word == "passed"
    assert "accuracy: 0.75, base 0.5, wanted at least 0.5" in verdict.told


@pytest.mark.parametrize(
    ("measured", "check"),
    [
        (replace(GOOD, moved=Moved(0.0, 0.0)), "moved"),
        (replace(GOOD, moved=Moved(1.0, 0.0)), "moved"),
        (replace(GOOD, moved=Moved(0.49, 0.01)), "moved"),
        (candidate(accuracy=0.49), "accuracy"),
        (candidate(margin=0.2), "margin"),
        (candidate(margin=-3.0), "margin"),
        (candidate(chosen_logps=-1.0 + math.log(0.989)), "likelihood"),
        (candidate(chosen_logps=-9.0), "likelihood"),
        (writing(mean_tokens=11.9), "length"),
        (writing(mean_tokens=88.1), "length"),
        (writing(repetition=0.21), "repetition"),
        (writing(special_tokens=0.2), "special_tokens"),
        (writing(empty=0.2), "empty"),
        (from_base(replace(WELL, empty=0.7), replace(WELL, empty=0.9)), "empty"),
    ],
)
def test_a_candidate_fails_by_one_check_alone(measured: Measured, check: str) -> None:
    verdict = judged(measured)

    assert not verdict.passed
    assert failed(verdict) == [check]
    assert verdict.word == f"refused: {check}"
    assert verdict.told.startswith(f"{check}: ")


@pytest.mark.parametrize(
    "measured",
    [
        replace(GOOD, moved=Moved(0.5, 1e-9)),
        candidate(accuracy=0.5),
        candidate(margin=0.2000001),
        candidate(chosen_logps=-1.0 + math.log(0.99)),
        candidate(chosen_logps=0.0),
        writing(mean_tokens=12.0),
        writing(mean_tokens=88.0),
        writing(repetition=0.2, special_tokens=0.1, empty=0.1),
        from_base(replace(WELL, empty=0.7), replace(WELL, empty=0.8)),  # 0.7 + 0.1 < 0.8
        from_base(replace(WELL, prompts=4), replace(WELL, prompts=4, empty=0.25)),  # one of four
        from_base(replace(WELL, mean_tokens=0.0), replace(WELL, mean_tokens=8.0)),
    ],
)
def test_what_is_just_at_a_limit_passes(measured: Measured) -> None:
    assert failed(judged(measured)) == []


@pytest.mark.parametrize(
    ("measured", "named"),
    [
        (replace(GOOD, moved=Moved(1.0, None)), "moved.largest_change"),
        (candidate(accuracy=None), "candidate.accuracy"),
        (candidate(margin=NAN), "candidate.margin"),
        (candidate(chosen_logps=INFINITE), "candidate.chosen_logps"),
        (replace(GOOD, base=replace(BASE, margin=None)), "base.margin"),
        (writing(mean_tokens=None), "candidate.generations.mean_tokens"),
        (replace(GOOD, candidate=None), "candidate"),
        (replace(GOOD, base=None), "base"),
    ],
)
@pytest.mark.parametrize("pairs", [40, 3])
def test_what_is_no_number_refuses_however_few_the_pairs(
    measured: Measured, named: str, pairs: int
) -> None:
    verdict = judged(replace(measured, pairs=pairs))

    assert "finite" in failed(verdict)
    [check] = [check for check in verdict.checks if check.name == "finite"]
    assert check.note is not None
    assert check.note.removeprefix("no number: ").split(", ") == [named]


@pytest.mark.parametrize(("pairs", "compared"), [(0, False), (19, False), (20, True)])
def test_few_pairs_compare_nothing_and_say_so(pairs: int, compared: bool) -> None:
    worse = replace(candidate(margin=-1.0), pairs=pairs)
    if not pairs:
        worse = Measured(pairs=0, moved=MOVED)

    verdict = judged(worse)

    assert verdict.passed is not compared
    if not compared:
        assert verdict.note == f"too few held-out pairs to judge by: {pairs} of at least 20"
        assert verdict.told == verdict.note
        assert verdict.word == "passed in part"


@pytest.mark.parametrize("pairs", [0, 5])
def test_few_pairs_do_not_excuse_an_adapter_that_did_not_move(pairs: int) -> None:
    assert failed(judged(Measured(pairs, Moved(0.0, 0.0), BASE, BETTER))) == ["moved"]


@pytest.mark.parametrize("base", [None, replace(WELL, prompts=0)])
def test_without_generations_the_rest_is_judged(base: Generations | None) -> None:
    silent = Generations(prompts=0)
    measured = from_base(base or WELL, silent)
    if base is None:
        measured = replace(GOOD, base=replace(BASE, generations=None))

    verdict = judged(measured)

    assert verdict.passed
    skipped = [check.name for check in verdict.checks if check.passed is None]
    assert skipped == ["length", "repetition", "special_tokens", "empty"]


# --- Results and settings ------------------------------------------------------------------------


def settings(**given: Any) -> TrainingSettings:
    return TrainingSettings(**given)


@pytest.mark.parametrize(
    ("result", "given", "note"),
    [
        ({"final_loss": 0.5}, {}, "the training measured nothing to judge by"),
        ({"gate": {"pairs": "many"}}, {"gate": "off"}, "the gate is off"),
    ],
)
def test_what_is_not_judged_passes_with_a_note(
    result: dict[str, object], given: dict[str, str], note: str
) -> None:
    verdict = judge(result, settings(**given))

    assert (verdict.passed, verdict.note, verdict.checks) == (True, note, [])
    assert verdict.word == "not judged"


@pytest.mark.parametrize("content", [None, [], {"pairs": "many"}, {"pairs": 3}])
def test_figures_that_cannot_be_read_refuse(content: object) -> None:
    assert failed(judge({"gate": content}, settings())) == ["readable"]


def test_a_result_as_a_script_writes_it_is_judged() -> None:
    written = msgspec.json.decode(msgspec.json.encode({"gate": GOOD}))

    assert judge(written, settings()) == judged(GOOD)
    assert judge(written, settings(gate_min_pairs=41)).word == "passed in part"


def test_a_further_check_can_only_turn_a_candidate_down() -> None:
    passed, refused = judged(GOOD), judged(candidate(margin=0.0))
    yes, no = (Check(name="command", passed=each, note="because") for each in (True, False))

    assert passed.and_also(yes).passed
    assert failed(passed.and_also(no)) == ["command"]
    assert not refused.and_also(yes).passed
    assert failed(refused.and_also(yes)) == ["margin"]
    assert passed.and_also(no).told == "command: because"


def test_a_verdict_is_read_back_as_it_was_written() -> None:
    verdict = judged(candidate(margin=0.0))

    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict


# --- What no figures can turn round --------------------------------------------------------------

shares = st.floats(0, 1)
logs = st.floats(-1e6, 0)
margins = st.floats(-1e6, 1e6)
texts = st.builds(
    Generations,
    prompts=st.integers(0, 64),
    mean_tokens=st.floats(0, 1e5),
    repetition=shares,
    special_tokens=shares,
    empty=shares,
)
models = st.builds(
    Figures,
    accuracy=shares,
    margin=margins,
    chosen_logps=logs,
    generations=st.none() | texts,
)
moves = st.builds(Moved, shares, st.floats(0, 10))
measured_ones = st.builds(
    Measured, pairs=st.integers(0, 60), moved=moves, base=models, candidate=models
)


@MODEST
@given(models, moves, st.integers(MIN_PAIRS, 10_000))
def test_a_candidate_that_is_the_base_never_passes(
    model: Figures, moved: Moved, pairs: int
) -> None:
    verdict = judged(Measured(pairs, moved, model, model))

    assert "margin" in failed(verdict)
    assert set(failed(verdict)) <= {"margin", "moved"}


Improve = Callable[[Figures, float], Figures]

IMPROVEMENTS: dict[str, Improve] = {
    "accuracy": lambda of, by: replace(of, accuracy=(of.accuracy or 0) + by),
    "margin": lambda of, by: replace(of, margin=(of.margin or 0) + by),
    "chosen_logps": lambda of, by: replace(of, chosen_logps=(of.chosen_logps or 0) + by),
}


@pytest.mark.parametrize("figure", IMPROVEMENTS)
@MODEST
@given(measured_ones, st.floats(0, 1e3))
def test_a_better_figure_never_turns_a_pass_into_a_refusal(
    figure: str, measured: Measured, by: float
) -> None:
    assert measured.candidate is not None
    better = replace(measured, candidate=IMPROVEMENTS[figure](measured.candidate, by))

    assert set(failed(judged(better))) <= set(failed(judged(measured)))


@MODEST
@given(measured_ones, st.integers(1, 100))
def test_more_pairs_wanted_never_turn_a_pass_into_a_refusal(measured: Measured, more: int) -> None:
    assert set(failed(judged(measured, MIN_PAIRS + more))) <= set(failed(judged(measured)))


@MODEST
@given(measured_ones)
def test_a_verdict_passes_when_no_check_failed(measured: Measured) -> None:
    verdict = judged(measured)

    assert verdict.passed == (not failed(verdict))
    assert verdict.told
