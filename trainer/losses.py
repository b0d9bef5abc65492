"""Pairs that retention took before the trainer had read them: named, and passed over when the user
says so.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import structlog

from schemas.errors import PairstreamError
from trainer.intake import Intake
from trainer.layout import DataDir
from trainer.source import Loss, remember_losses

log = structlog.get_logger()


class PairsLost(PairstreamError):
    """Offsets that are to be read next are gone; the user says how to go on."""


def find_losses(positions: Mapping[int, int], earliest: Mapping[int, int]) -> list[Loss]:
    """What lies between the positions and the first offsets that are still there."""
    now = datetime.now(UTC)
    return [
        Loss(partition, position, earliest[partition] - 1, now)
        for partition, position in sorted(positions.items())
        if position < earliest[partition]
    ]


def lost(topic: str, losses: list[Loss]) -> PairsLost:
    """The one line for the user."""
    places = ", ".join(
        f"pairs {loss.first} to {loss.last} of {topic} partition {loss.partition}"
        for loss in losses
    )
    return PairsLost(
        f"{places} are gone (retention) before they were read: rebuild them with "
        "`pairstream replay --from events` and start the trainer with a new --data-dir, or accept "
        "the loss and go on behind it with `pairstream trainer --accept-loss`"
    )


def pass_over(data: DataDir, intake: Intake, losses: list[Loss]) -> None:
    """Cover the losses with segments of their own, which hold no rows. Written down first, so that
    no hole is ever without its reason.
    """
    remember_losses(data, losses)
    for loss in losses:
        log.warning("loss_accepted", partition=loss.partition, first=loss.first, last=loss.last)
        intake.skip_to(loss.partition, loss.last + 1)
    intake.close_segments()
