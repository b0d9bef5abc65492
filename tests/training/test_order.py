"""Pairs of like length in one batch, and the reference computed once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import missing
from tests.training.conftest import MakeDataset, Train, pair, response
from trainer.train_dpo import plots
from trainer.train_dpo.data import like_lengths_together
from trainer.train_dpo.training import precomputation_pays

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=300)


def spread(lengths: list[int], batch: int) -> int:
    """Tokens that padding adds."""
    parts = [lengths[start : start + batch] for start in range(0, len(lengths), batch)]
    return sum(max(part) * len(part) - sum(part) for part in parts)


@given(LENGTHS, st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_order_holds_every_pair_once_and_starts_with_the_longest(
    lengths: list[int], batch: int, seed: int
) -> None:
    order = like_lengths_together(lengths, batch, seed)

    assert sorted(order) == list(range(len(lengths)))
    assert order == like_lengths_together(lengths, batch, seed)
    assert max(lengths[pair] for pair in order[:batch]) == max(lengths)


@given(LENGTHS, st.integers(2, 9))
def test_order_pads_no_more_than_that_of_a_sorted_stretch(lengths: list[int], batch: int) -> None:
    few = lengths[: 50 * batch]
    ordered = [few[pair] for pair in like_lengths_together(few, batch, 0)]

    assert spread(ordered, batch) <= spread(sorted(few, reverse=True), batch)


def test_batches_come_in_no_order_of_length() -> None:
    lengths = list(range(100))
    firsts = [lengths[pair] for pair in like_lengths_together(lengths, 4, 1)[::4]]

    assert firsts != sorted(firsts)
    assert firsts != sorted(firsts, reverse=True)
    assert like_lengths_together(lengths, 4, 1) != like_lengths_together(lengths, 4, 2)


@pytest.mark.parametrize(
    ("flags", "pays"),
    [
        ((), False),
        (("--epochs", 2), True),
        (("--epochs", 1.5), True),
        (("--epochs", 9, "--max-steps", 4), False),
        (("--max-steps", 5), True),
        (("--precompute-reference", "on"), True),
        (("--precompute-reference", "off", "--epochs", 3), False),
    ],
)
def test_reference_is_computed_beforehand_where_it_pays(
    arguments: Callable[..., Any], flags: tuple[object, ...], pays: bool
) -> None:
    assert precomputation_pays(arguments(*flags), pairs=8) is pays


@pytest.mark.training
@pytest.mark.usefixtures("training_packages")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_reference_computed_once_gives_the_same_training(
    make_dataset: MakeDataset, train: Train, precision: str
) -> None:
    dataset = make_dataset(None, [pair(8)])
    once, each_time = (
        train(
            dataset, "--precision", precision, "--precompute-reference", when, output=when
        )
        for when in ("on", "off")
    )  # fmt: skip
    assert once.code == 0
    assert once.result["precision"] == precision
    assert once.result["precomputed_reference"]
    assert not each_time.result["precomputed_reference"]
    assert once.losses == pytest.approx(each_time.losses, abs=1e-6)
    assert once.weights == each_time.weights
    assert once.result["evaluation"]["eval_loss"] == pytest.approx(
        each_time.result["evaluation"]["eval_loss"], abs=1e-6
    )


@pytest.mark.training
@pytest.mark.usefixtures("training_packages")
def test_batches_hold_pairs_of_like_length(make_trainer: Callable[..., Any]) -> None:
    rows = [pair(number, chosen=response("x" * (1 + 30 * (number % 2)))) for number in range(8)]
    trainer = make_trainer(rows, "--batch-size", 2)
    batches = [batch["attention_mask"] for batch in trainer.get_train_dataloader()]
    assert len(batches) == 4
    assert all(mask[0].sum() == mask[1].sum() for mask in batches)
    assert batches[0].sum() == max(mask.sum() for mask in batches)

    uncured = make_trainer(rows, "--batch-size", 2, "--no-group-by-length")
    mixed = [batch["attention_mask"] for batch in uncured.get_train_dataloader()]
    assert any(mask[0].sum() != mask[1].sum() for mask in mixed)


@pytest.mark.long
def test_curves_are_drawn_to_the_same_bytes(tmp_path: Path) -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        missing("needs the packages that train: pip install 'pairstream[train]'")
    logs = [
        {"step": step, "loss": 1 / step, "rewards/margins": step, "rewards/accuracies": 0.5,
         "logps/chosen": -3.0, "logps/rejected": -4.0 * step}
        for step in range(1, 6)
    ]  # fmt: skip
    logs.append({"step": 5, "eval_loss": 0.3, "eval_rewards/margins": 2.0})
    for name in ("one", "same"):
        plots.draw(logs, tmp_path / name)
    for name in ("training.svg", "training.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    drawn = (tmp_path / "one" / "training.svg").read_text()
    assert "<dc:date>" not in drawn
    assert drawn.startswith("<?xml")
    assert (tmp_path / "one" / "training.png").read_bytes().startswith(b"\x89PNG")
    plots.draw(json.loads(json.dumps(logs[:2])), tmp_path / "other")
    assert (tmp_path / "other" / "training.svg").read_text() != drawn
