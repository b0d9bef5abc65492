"""What is different where single responses with labels are learnt from, by KTO."""

from __future__ import annotations

from typing import Any

from .data import Row
from .refusals import BAD_DATA, Refused

# What the reference says of a response beforehand, and of one that belongs to another prompt, from
# which TRL estimates how far the policy has moved.
REFERENCE_COLUMNS = ("ref_logps", "ref_KL_logps")

# As many responses as pairs have: a batch of one would leave no other response to compare with.
RESPONSES_A_PAIR = 2


def kto_config(shared: dict[str, Any]) -> Any:
    """TRL's configuration; `shared` is what DPO's has too."""
    from trl import KTOConfig

    batch = RESPONSES_A_PAIR * shared["per_device_train_batch_size"]
    return KTOConfig(
        **{
            **shared,
            "per_device_train_batch_size": batch,
            "per_device_eval_batch_size": batch,
            # TRL pairs each prompt with another response of its batch beforehand. The rows stand
            # in the order of a hash, so they are mixed already.
            "train_sampling_strategy": "sequential",
        },
        loss_type="kto",
    )


def count_labels(rows: list[Row]) -> tuple[int, int]:
    """Good and bad ones. Raises: Refused where there is no telling one from the other."""
    good = sum(row["label"] for row in rows)
    bad = len(rows) - good
    if not good or not bad:
        only = "good" if good else "bad"
        raise Refused(
            BAD_DATA,
            f"all {len(rows)} responses are {only} ones: KTO learns from both kinds, so wait for "
            "the other one",
        )
    return good, bad


def label_weights(good: int, bad: int) -> tuple[float, float]:
    """Of the good and the bad responses' losses, so that neither kind outweighs the other.

    Source: KTO, arXiv 2402.01306, equation 8, whose ratio of 1 to 4/3 is taken at 1.
    """
    return max(1.0, bad / good), max(1.0, good / bad)


def weigh_labels(config: Any, rows: list[Row]) -> None:
    config.desirable_weight, config.undesirable_weight = label_weights(*count_labels(rows))


def labels_told(trainer: Any) -> dict[str, Any]:
    """For the result."""
    labels = trainer.train_dataset["label"]
    return {
        "good": sum(labels),
        "bad": len(labels) - sum(labels),
        "good_weight": trainer.args.desirable_weight,
        "bad_weight": trainer.args.undesirable_weight,
    }
