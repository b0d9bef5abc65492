"""From the recipe's settings to the script's flags. Pure."""

import shlex
from typing import Literal

import msgspec

from schemas.errors import InvalidSettings, PairstreamError
from schemas.recipe import CONTINUE
from schemas.settings import DatasetSettings, RecipeSettings, TrainingSettings
from trainer.datasets import DatasetManifest

PREFIX = "training_"

Method = Literal["dpo", "kto"]


def method_of(dataset: DatasetManifest) -> Method:
    """How a dataset is trained on. Raises: PairstreamError where it is for other programs."""
    if dataset.kind == "groups":
        raise PairstreamError(
            f"{dataset.name} holds groups of responses, which are for a trainer of your own: "
            "`pairstream replay --from scored-rows --kind kto` makes what can be trained on here"
        )
    return "dpo" if dataset.kind == "pairs" else "kto"


def method_flags(dataset: DatasetManifest) -> list[str]:
    """None for pairs, which are what the script expects. Raises: as `method_of`."""
    method = method_of(dataset)
    return [] if method == "dpo" else ["--method", method]


def recipe_flags(settings: TrainingSettings) -> list[str]:
    """Every setting of the recipe as a flag, then those of `training_args`, which win.

    Raises: InvalidSettings when settings do not go together.
    """
    losses = settings.training_loss_types.split(",")
    weights = settings.training_loss_weights.split(",")
    if len(losses) != len(weights):
        raise InvalidSettings(
            f"training-loss-weights: {len(weights)} for {len(losses)} of training-loss-types: "
            "give one for each"
        )
    if settings.training_max_steps == 0:
        raise InvalidSettings(
            "training-max-steps: 0 trains nothing: give a number above 0, or -1 for what the "
            "epochs say"
        )
    if settings.training_next_round == CONTINUE and settings.training_reference == "model":
        raise InvalidSettings(
            "training-reference: a training that goes on from an adapter is held to that adapter: "
            "with training-next-round=continue it must be adapter"
        )
    try:
        further = shlex.split(settings.training_args)
    except ValueError as error:
        raise InvalidSettings(f"PAIRSTREAM_TRAINING_ARGS: {error}") from error
    flags = [part for name in recipe_names() for part in _flag(name, getattr(settings, name))]
    return [*flags, *further]


def recipe_names() -> list[str]:
    others = {field.name for field in msgspec.structs.fields(DatasetSettings)}
    names = (field.name for field in msgspec.structs.fields(RecipeSettings))
    return [name for name in names if name not in others]


def _flag(name: str, value: object) -> list[str]:
    flag = name.removeprefix(PREFIX).replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", str(value)]
