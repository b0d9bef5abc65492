"""A training teaches: on recorded runs, a small model prefers better programs that it never saw."""

import itertools
from pathlib import Path

import numpy as np
import orjson
import pytest

from benchmarks.made_datasets import all_garbled, pairs_of, recorded_events, write_dataset
from benchmarks.quality import EVAL_FRACTION, likelihoods, measure_quality, quality_of
from benchmarks.schooled_model import make_schooled_model
from schemas.rows import Pair, encode
from trainer.selection import CutSettings, candidate_of, select

# Longer ones take most of the time.
LONGEST = 1400


@pytest.fixture(scope="module")
def pairs(recorded_runs: Path) -> list[Pair]:
    return pairs_of(recorded_events(recorded_runs))


def is_short(pair: Pair) -> bool:
    texts = itertools.chain(pair.prompt, pair.chosen)
    return sum(len(message.content) for message in texts) <= LONGEST


@pytest.mark.training
@pytest.mark.usefixtures("training_packages")
@pytest.mark.timeout(1200)  # of trainings that take three quarters of a minute on free cores
def test_preference_rises_on_runs_that_were_held_out_and_the_good_side_stays_likely(
    pairs: list[Pair], tmp_path: Path
) -> None:
    make_schooled_model(tmp_path / "base")
    dataset = write_dataset(tmp_path / "dataset", filter(is_short, pairs), EVAL_FRACTION)

    found = measure_quality(dataset, tmp_path / "base", tmp_path / "output")

    assert found.pairs >= 40
    # The interval that holds 95 of 100 resamples of the runs lies above what there was before.
    assert found.reward.low > 0.1
    assert found.by_token.gain > 0
    assert found.by_sum.candidate >= found.by_sum.base
    before, after = found.chosen
    assert after >= before + np.log(0.99), "a token of the good side keeps its likelihood"
    assert found.gate == "passed"


def test_where_all_pairs_are_garbled_their_share_holds_them_back(pairs: list[Pair]) -> None:
    """No gate would: to tell a text from its own ruins is right, and teaches next to nothing."""
    garbled = sorted(all_garbled(pairs), key=lambda pair: pair.pair_id)
    candidates = [candidate_of(orjson.loads(encode(pair)), "keep") for pair in garbled]

    left = select(candidates, CutSettings(eval_fraction=0.1, max_garbled_share=0.3))

    assert len(left) == len(garbled) > 100
    assert set(left.values()) == {"garbled_share"}
    assert select(candidates, CutSettings(eval_fraction=0.1)) == {}


# --- Arithmetic ----------------------------------------------------------------------------------


def sides(*pairs: tuple[float, int, float, int]) -> np.ndarray:
    """Each of the summed log-probability and the tokens of chosen and rejected."""
    return np.array([[pair[:2], pair[2:]] for pair in pairs])


def test_shares_of_pairs_before_and_after() -> None:
    before = sides((-20, 10, -9, 3), (-4, 2, -9, 3), (-8, 2, -9, 3), (-8, 2, -9, 3))
    after = sides((-10, 10, -9, 3), (-4, 2, -9, 3), (-2, 2, -9, 3), (-8, 2, -9, 3))

    found = quality_of(before, after, ["a", "b", "c", "c"], "passed")

    assert (found.pairs, found.runs) == (4, 3)
    # A token: -2 against -3, -2 against -3, -4 against -3 twice; then -1, -2, -1 and -4.
    assert (found.by_token.base, found.by_token.candidate) == (0.5, 0.75)
    assert (found.by_sum.base, found.by_sum.candidate) == (0.75, 0.75)
    assert (found.reward.base, found.reward.candidate) == (0.5, 0.5)
    assert found.chosen == (-3.0, -2.0)
    assert found.by_token.low <= found.by_token.gain == 0.25 <= found.by_token.high


def test_interval_is_as_wide_as_few_runs_are_and_as_narrow_as_many() -> None:
    def width(copies: int) -> float:
        worse, better = (-3.0, 1, -2.0, 1), (-1.0, 1, -2.0, 1)
        before = sides(*[worse] * 4 * copies)
        after = sides(*[better, better, better, worse] * copies)
        share = quality_of(before, after, [str(n) for n in range(4 * copies)], "").by_token
        assert share.gain == 0.75
        return share.high - share.low

    assert width(2) > 1.5 * width(16)


@pytest.mark.training
@pytest.mark.usefixtures("training_packages")
def test_likelihoods_are_those_of_the_response_alone(tmp_path: Path, tiny_model: Path) -> None:
    """Of random weights: the logarithm of the vocabulary for each token, and a token a byte."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(tiny_model)
    fresh = LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")
    get_peft_model(plain, fresh).save_pretrained(tmp_path / "adapter")
    row = {
        "prompt": [{"role": "user", "content": "Print."}],
        "chosen": [{"role": "assistant", "content": "print(1)"}],
        "rejected": [{"role": "assistant", "content": "x"}],
    }

    before, after = likelihoods(tiny_model, tmp_path / "adapter", [row])

    # Each message ends with a control token and an end of line.
    assert before[0, :, 1].tolist() == [10, 3]
    assert before[0, :, 0] == pytest.approx(-np.log(320) * np.array([10, 3]), rel=0.05)
    assert np.array_equal(before, after), "an adapter that was not trained changes nothing"
