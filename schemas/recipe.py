"""What a training's settings may be: bounds and meanings; `schemas.settings` gives the defaults.

Each is a flag of the training script too, named without `training_`.
"""

from typing import Annotated, Literal

from msgspec import Meta

# Not offered: `robust`, whose loss has no floor where the rejected side is noise, and what was
# never tried on such pairs.
LOSS_TYPES = ("sigmoid", "hinge", "ipo", "apo_zero", "sigmoid_norm", "sft")

_LOSS = f"({'|'.join(LOSS_TYPES)})"
_NUMBER = r"[0-9]*\.?[0-9]+"

# What training_next_round may be, beside fresh.
CONTINUE, MERGE = "continue", "merge"

Losses = Annotated[
    str,
    Meta(
        pattern=rf"^{_LOSS}(,{_LOSS})*\Z",
        description=f"Losses that are added up, by commas: {', '.join(LOSS_TYPES)}.",
    ),
]
Weights = Annotated[
    str,
    Meta(
        pattern=rf"^{_NUMBER}(,{_NUMBER})*\Z",
        description="The weight of each of them, by commas.",
    ),
]
Beta = Annotated[
    float, Meta(gt=0, le=100, description="How strongly the model is held to what it starts from.")
]
Rate = Annotated[float, Meta(gt=0, le=1, description="The step size of the optimiser.")]
Epochs = Annotated[float, Meta(gt=0, le=1000, description="How often each pair is learnt from.")]
Steps = Annotated[int, Meta(ge=-1, description="Steps after which it stops; -1: by the epochs.")]
Batch = Annotated[int, Meta(ge=1, le=4096, description="Pairs that are computed at once.")]
Accumulation = Annotated[int, Meta(ge=1, le=4096, description="Batches that make one step.")]
Length = Annotated[
    int, Meta(ge=2, description="Tokens of prompt and response; at most the model's context.")
]
Seed = Annotated[int, Meta(ge=0, lt=2**32, description="Of the adapter's start and the order.")]
Rank = Annotated[int, Meta(ge=1, le=1024, description="Rank of the adapter.")]
Alpha = Annotated[int, Meta(ge=1, le=4096, description="The adapter's scale, times its rank.")]
Quantization = Annotated[
    Literal["nf4", "none"], Meta(description="How the base's weights are held: in 4 bits or whole.")
]
Reference = Annotated[
    Literal["adapter", "model"],
    Meta(description="What is compared with: the same model without its adapter, or a second one."),
]
Precompute = Annotated[
    Literal["auto", "on", "off"],
    Meta(description="Compute the reference's side once; auto: with more than one epoch."),
]
Grouping = Annotated[
    bool, Meta(description="Put pairs of like length into one batch, where batches hold several.")
]
LostShare = Annotated[
    float, Meta(ge=0, le=1, description="Refuse when more than this share does not fit whole.")
]
Saturation = Annotated[
    int,
    Meta(
        ge=0,
        description="Steps in a row, all right by a margin above 5, after which a training ends "
        "early; 0: it goes on.",
    ),
]
Report = Annotated[
    Literal["none", "tensorboard", "trackio"],
    Meta(
        description="Also log to `logs/` in the model's folder; its package must be in the "
        "training's environment."
    ),
]
NextRound = Annotated[
    Literal["fresh", "continue", "merge"],
    Meta(
        description="Where a training starts: a fresh adapter on the base; `models/latest` and "
        "goes on; `models/latest` merged into the base, and a fresh adapter on that."
    ),
]
