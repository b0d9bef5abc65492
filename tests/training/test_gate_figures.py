"""What the script measures for the gate, and when it stops early."""

import math
from typing import Any

import pytest

from tests.training.conftest import MakeDataset, Train, message, pair
from trainer.train_dpo import evaluation, recorder
from trainer.train_dpo.evaluation import repetition, until

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_packages")]


@pytest.mark.parametrize(
    ("responses", "share"),
    [
        ([], 0.0),
        ([[1, 2, 3]], 0.0),
        ([[1, 2, 3, 4, 5]], 0.0),
        ([[1, 1, 1, 1, 1]], 0.5),
        ([[7] * 13, [1, 2, 3, 4]], 9 / 11),
        ([[1, 2, 3, 4], [1, 2, 3, 4]], 0.0),
    ],
)
def test_repetition_is_the_share_of_runs_of_four_seen_before(
    responses: list[list[int]], share: float
) -> None:
    assert repetition(responses) == pytest.approx(share)


def test_a_response_ends_before_the_first_end_of_a_message() -> None:
    assert until({9, 8}, [1, 2, 8, 3, 9]) == [1, 2]
    assert until({9}, [1, 2]) == [1, 2]
    assert until({9}, [9, 1]) == []


def test_gate_holds_the_trained_model_beside_the_base(
    make_dataset: MakeDataset, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "MOST_PAIRS", 3)
    same_prompt = [message("Print 20.")]
    held_out = [pair(number, prompt=same_prompt) for number in (20, 21)]
    trained = train(make_dataset(None, [*held_out, pair(8), pair(9)]), "--batch-size", 2)
    gate = trained.result["gate"]
    assert gate["pairs"] == 3
    base, candidate = gate["base"], gate["candidate"]
    # Random weights know nothing: ln of the vocabulary for each token.
    assert base["chosen_logps"] == pytest.approx(-math.log(320), rel=0.05)
    # The rejected side is one token longer.
    assert base["margin"] == pytest.approx(math.log(320), abs=3)
    assert (candidate["accuracy"], candidate["margin"] > 10) == (1, True)
    assert gate["moved"]["share"] == 1
    # Two steps of Adam, each as long as its rate: 0.01 and half of that.
    assert gate["moved"]["largest_change"] == pytest.approx(0.015, rel=0.1)
    for generations in (base["generations"], candidate["generations"]):
        assert generations["prompts"] == 2
        assert 0 <= generations["mean_tokens"] <= 64
        for share in ("repetition", "special_tokens", "empty"):
            assert 0 <= generations[share] <= 1


def test_figures_of_the_gate_agree_with_trls_own(make_dataset: MakeDataset, train: Train) -> None:
    trained = train(make_dataset(None, [pair(8), pair(9)]), "--batch-size", 2, "--beta", 0.5)
    gate, evaluated = trained.result["gate"], trained.result["evaluation"]
    gain = gate["candidate"]["margin"] - gate["base"]["margin"]
    assert 0.5 * gain == pytest.approx(evaluated["eval_rewards/margins"], rel=1e-3)


def test_without_held_out_pairs_the_gate_knows_only_whether_it_moved(
    make_dataset: MakeDataset, train: Train
) -> None:
    still = train(make_dataset(), "--learning-rate", 1e-30, "--max-steps", 1)
    gate = still.result["gate"]
    assert gate.keys() == {"pairs", "moved"}
    assert gate["pairs"] == 0
    assert gate["moved"]["largest_change"] < 1e-20


def test_training_that_teaches_nothing_more_stops_early_and_only_once(
    make_dataset: MakeDataset, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "SATURATED_MARGIN", 0.01)
    flags = ("--early-stop", 2, "--epochs", 3)
    trained = train(make_dataset(), *flags)
    assert trained.code == 0
    steps = len(trained.losses)
    assert steps < 12
    assert trained.result["stopped_early"]
    assert trained.result["arguments"]["early_stop"] == 2
    assert trained.steps[-1]["rewards/margins"] > 0.01

    (trained.output / "result.json").unlink()
    finished = train(trained.output.with_name("ds-000001"), *flags)
    assert (finished.code, len(finished.losses)) == (0, steps)
    assert finished.weights == trained.weights


def test_report_whose_package_is_missing_is_refused_before_anything_is_trained(
    make_dataset: MakeDataset, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import util

    find = util.find_spec

    def without_tensorboard(name: str, *more: Any) -> Any:
        return None if name == "tensorboard" else find(name, *more)

    monkeypatch.setattr(util, "find_spec", without_tensorboard)
    trained = train(make_dataset(), "--report-to", "tensorboard")
    assert trained.code == 2
    assert "--report-to tensorboard: the package is not in this environment" in trained.stderr
    assert list(trained.output.iterdir()) == []
