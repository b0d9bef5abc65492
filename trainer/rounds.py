"""What a training starts from, beside the base: the adapter of the newest training, if wanted."""

from pathlib import Path

import msgspec

from schemas.errors import PairstreamError
from schemas.json_errors import JSON_ERRORS
from schemas.printable import printable
from schemas.recipe import CONTINUE, MERGE
from schemas.settings import TrainingSettings
from trainer.latest import read_latest
from trainer.launcher import Previous
from trainer.training_manifest import read_started

FLAGS = {CONTINUE: "--init-adapter", MERGE: "--merge-first"}


class _AdapterConfig(msgspec.Struct):
    base_model_name_or_path: str


def previous_round(folder: Path, settings: TrainingSettings, base_name: str) -> Previous | None:
    """What the training in `folder` was started with; before its first start, what is wanted now.

    Raises: PairstreamError when that adapter is gone, or is one of another base model.
    """
    known = read_started(folder)
    previous = known.previous if known else _latest(folder.parent, settings)
    if previous is not None:
        _check(folder.parent, previous, base_name)
    return previous


def _latest(models: Path, settings: TrainingSettings) -> Previous | None:
    """`models/latest` as it is now, where the settings want it and there is one."""
    latest = read_latest(models)
    if (
        settings.training_next_round not in FLAGS
        or latest is None
        or not (models / latest).exists()
    ):
        return None
    return Previous(latest, settings.training_next_round)


def _check(models: Path, previous: Previous, base_name: str) -> None:
    """Raises: PairstreamError when its adapter is gone, or is one of another base model."""
    if (
        previous.training_id in ("", "..")
        or previous.training_id != Path(previous.training_id).name
    ):
        # A container may write the record that it comes from.
        raise PairstreamError(f"{printable(previous.training_id)} is no training")
    config = models / previous.training_id / "adapter" / "adapter_config.json"
    try:
        trained_on = msgspec.json.decode(config.read_bytes(), type=_AdapterConfig)
    except (OSError, *JSON_ERRORS) as error:
        raise PairstreamError(
            f"{config} cannot be read ({error}): restore it, or set "
            "PAIRSTREAM_TRAINING_NEXT_ROUND=fresh"
        ) from error
    if trained_on.base_model_name_or_path != base_name:
        raise PairstreamError(
            f"{previous.training_id} is an adapter of {trained_on.base_model_name_or_path}, not of "
            f"{base_name}: set PAIRSTREAM_TRAINING_NEXT_ROUND=fresh"
        )


def round_flags(previous: Previous | None, adapter: str) -> list[str]:
    """The script's flags, which sees the adapter at that place."""
    return [] if previous is None else [FLAGS[previous.how], adapter]
