"""The recipe's settings are the script's flags: same names, same defaults, all of them."""

import pytest

from schemas.errors import InvalidSettings
from schemas.recipe import LOSS_TYPES
from schemas.settings import TrainingSettings
from trainer.recipe import PREFIX, recipe_flags, recipe_names
from trainer.train_dpo import arguments
from trainer.train_dpo.arguments import parse_arguments

FOLDERS = ["--dataset", "d", "--base-model", "b", "--output", "o"]


def test_settings_and_script_have_the_same_defaults() -> None:
    by_itself = vars(parse_arguments(FOLDERS))
    by_settings = vars(parse_arguments([*FOLDERS, *recipe_flags(TrainingSettings())]))

    assert by_settings == by_itself
    assert set(recipe_names()) <= {PREFIX + name for name in by_itself}
    assert arguments.LOSS_TYPES == LOSS_TYPES


def test_every_setting_reaches_the_script() -> None:
    changed = TrainingSettings(
        training_loss_types="apo_zero", training_loss_weights=".5", training_beta=0.7,
        training_learning_rate=1e-6, training_epochs=3, training_max_steps=4,
        training_batch_size=5, training_gradient_accumulation=6, training_group_by_length=False,
        training_max_length=70, training_max_lost_share=0.25, training_seed=8,
        training_lora_rank=9, training_lora_alpha=10, training_quantization="none",
        training_reference="model", training_precompute_reference="off", training_early_stop=0,
        training_report_to="trackio",
    )  # fmt: skip
    parsed = vars(parse_arguments([*FOLDERS, *recipe_flags(changed)]))
    usual = TrainingSettings()

    for name in recipe_names():
        assert parsed[name.removeprefix(PREFIX)] == getattr(changed, name)
        assert getattr(changed, name) != getattr(usual, name)


def test_further_arguments_win_over_settings() -> None:
    settings = TrainingSettings(
        training_beta=0.7, training_args="--beta 0.9 --sft-weight 0 --no-group-by-length"
    )
    parsed = parse_arguments([*FOLDERS, *recipe_flags(settings)])

    assert (parsed.beta, parsed.group_by_length) == (0.9, False)
    assert (parsed.loss_types, parsed.loss_weights) == ("sigmoid", "1")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"training_loss_types": "sigmoid"}, "training-loss-weights: 2 for 1"),
        ({"training_next_round": "continue", "training_reference": "model"}, "training-reference"),
        ({"training_max_steps": 0}, "training-max-steps: 0 trains nothing"),
        ({"training_args": "--beta '"}, "PAIRSTREAM_TRAINING_ARGS: No closing quotation"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidSettings, match=named):
        recipe_flags(TrainingSettings(**settings))  # type: ignore[arg-type]
