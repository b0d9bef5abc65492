"""How far two trainings of the same pairs came to the same: their figures and their adapters.

The comparison is pure; `read_outcome` reads what it compares.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from safetensors import SafetensorError
from safetensors.numpy import load_file

from schemas.errors import PairstreamError
from schemas.json_errors import JSON_ERRORS
from trainer.training_manifest import ADAPTER, METRICS, TrainingManifest

WEIGHTS = "adapter_model.safetensors"

Line = dict[str, float | None]

# What time takes, and what starts anew where a training goes on from a checkpoint.
_OWES_TO_TIME = ("_time", "_runtime", "_per_second", "num_tokens")
_OF_THE_WHOLE = "train_loss"


class FigureDiff(Struct, frozen=True):
    """One figure of the metrics that differs: at which step first, its two values there, and the
    largest difference (null where one of them is missing or no number).
    """

    name: str
    step: int
    first: float | None
    again: float | None
    largest: float | None


class TensorsDiff(Struct, frozen=True):
    """The adapters: how many tensors there are, which differ, and the largest difference of two
    numbers (null where shapes differ, or a tensor is missing).
    """

    tensors: int
    differing: list[str]
    largest: float | None


class Outcome(Struct, frozen=True):
    """What a training came to."""

    metrics: list[Line]
    tensors: dict[str, np.ndarray]


class TrainingDiff(Struct, frozen=True, kw_only=True):
    """Two trainings; the keys of `reproduce --json` are the fields here, and those it adds.

    `ran_otherwise` tells by name what the two ran with where that differs: a reason, no verdict.
    """

    tolerance: float
    steps: tuple[int, int]
    figures: list[FigureDiff]
    adapter: TensorsDiff
    ran_otherwise: dict[str, tuple[Any, Any]]

    @property
    def same(self) -> bool:
        return not (self.figures or self.adapter.differing) and self.steps[0] == self.steps[1]


def read_outcome(folder: Path) -> Outcome:
    """Raises: PairstreamError that names the file which cannot be read."""
    metrics, weights = folder / METRICS, folder / ADAPTER / WEIGHTS
    try:
        lines = msgspec.json.Decoder(Line).decode_lines(metrics.read_bytes())
    except (OSError, *JSON_ERRORS) as error:
        raise PairstreamError(f"{metrics} cannot be read ({error}): restore it") from error
    try:
        return Outcome(lines, load_file(weights))
    except (OSError, SafetensorError) as error:
        raise PairstreamError(f"{weights} cannot be read ({error}): restore it") from error


def compare_trainings(
    first: tuple[TrainingManifest, Outcome],
    again: tuple[TrainingManifest, Outcome],
    tolerance: float,
) -> TrainingDiff:
    """`tolerance` is the difference of two numbers that is none."""
    outcomes = first[1], again[1]
    return TrainingDiff(
        tolerance=tolerance,
        steps=(_steps(outcomes[0].metrics), _steps(outcomes[1].metrics)),
        figures=compare_figures(outcomes[0].metrics, outcomes[1].metrics, tolerance),
        adapter=compare_tensors(outcomes[0].tensors, outcomes[1].tensors, tolerance),
        ran_otherwise=_differences(_ran_with(first[0]), _ran_with(again[0])),
    )


def compare_figures(first: list[Line], again: list[Line], tolerance: float) -> list[FigureDiff]:
    """Of the steps that both have, and of the evaluation."""
    diffs: dict[str, FigureDiff] = {}
    for one, other in zip(_figures(first), _figures(again), strict=False):
        for name in {**one, **other}:
            distance = _distance(one.get(name), other.get(name))
            if distance is not None and distance <= tolerance:
                continue
            known = diffs.get(name)
            if known is None:
                step = int(one.get("step") or 0)
                diffs[name] = FigureDiff(name, step, one.get(name), other.get(name), distance)
            else:
                diffs[name] = msgspec.structs.replace(
                    known, largest=_larger(known.largest, distance)
                )
    return sorted(diffs.values(), key=lambda diff: (diff.step, diff.name))


def compare_tensors(
    first: Mapping[str, np.ndarray], again: Mapping[str, np.ndarray], tolerance: float
) -> TensorsDiff:
    names = sorted({**first, **again})
    differing, largest = [], 0.0
    whole = True
    for name in names:
        distance = _tensor_distance(first.get(name), again.get(name))
        if distance is None or not distance <= tolerance:
            differing.append(name)
        if distance is None or math.isnan(distance):
            whole = False
        else:
            largest = max(largest, distance)
    return TensorsDiff(len(names), differing, largest if whole else None)


def _figures(lines: list[Line]) -> list[Line]:
    return [
        {name: value for name, value in line.items() if not name.endswith(_OWES_TO_TIME)}
        for line in lines
        if _OF_THE_WHOLE not in line
    ]


def _steps(lines: list[Line]) -> int:
    return sum("loss" in line for line in lines)


def _distance(first: float | None, again: float | None) -> float | None:
    """None where only one is there; what is no number on both sides is the same."""
    if first is None or again is None:
        return 0.0 if first is again else None
    return 0.0 if first == again else abs(first - again)


def _larger(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else max(first, second)


def _tensor_distance(first: np.ndarray | None, again: np.ndarray | None) -> float | None:
    if first is None or again is None or first.shape != again.shape:
        return None
    if not first.size:
        return 0.0
    return float(np.abs(first.astype(np.float64) - again.astype(np.float64)).max())


def _ran_with(manifest: TrainingManifest) -> dict[str, Any]:
    figures = manifest.figures or {}
    versions = figures.get("versions")
    return {
        "launcher": manifest.launcher,
        "image": manifest.image,
        "image_tag": manifest.image_tag,
        "base_model": manifest.base_model,
        "pairstream": manifest.made_by.told if manifest.made_by else None,
        **{name: figures.get(name) for name in ("device", "precision", "pairs", "held_out")},
        **(versions if isinstance(versions, dict) else {}),
    }


def _differences(first: Mapping[str, Any], again: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys([*first, *again])
    both = {name: (first.get(name), again.get(name)) for name in names}
    return {name: values for name, values in both.items() if values[0] != values[1]}
