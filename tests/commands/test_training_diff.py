"""What differs between two trainings of the same pairs. The comparison is pure."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairstream.training_diff import Line, compare_figures, compare_tensors, read_outcome
from schemas.errors import PairstreamError


def line(step: int, **figures: float | None) -> Line:
    return {"step": step, "steps": 2, "loss": 0.5, **figures}


@pytest.mark.parametrize(
    ("again", "tolerance", "differs"),
    [
        ([line(1), line(2)], 0, []),
        ([line(1, train_runtime=9.0, num_tokens=7.0), line(2)], 0, []),
        ([line(1), line(2), {"step": 2, "train_loss": 0.1}], 0, []),
        ([line(1), line(2, loss=0.75)], 0, [("loss", 2, 0.5, 0.75, 0.25)]),
        ([line(1, loss=0.625), line(2, loss=0.75)], 0, [("loss", 1, 0.5, 0.625, 0.25)]),
        ([line(1, loss=0.625), line(2, loss=0.75)], 0.2, [("loss", 2, 0.5, 0.75, 0.25)]),
        ([line(1, loss=0.75), line(2)], 0.25, []),
        ([line(1), line(2, loss=None)], 1, [("loss", 2, 0.5, None, None)]),
        ([line(1), line(2, grad_norm=1.0)], 9, [("grad_norm", 2, None, 1.0, None)]),
    ],
)  # fmt: skip
def test_figures_differ_from_the_first_step_at_which_they_do(
    again: list[Line], tolerance: float, differs: list[tuple[Any, ...]]
) -> None:
    diffs = compare_figures([line(1), line(2)], again, tolerance)

    assert [(d.name, d.step, d.first, d.again, d.largest) for d in diffs] == differs


A, B = np.zeros((2, 2), np.float32), np.full((2, 2), 0.5, np.float32)


@pytest.mark.parametrize(
    ("again", "tolerance", "differing", "largest"),
    [
        ({"a": A, "b": B}, 0, [], 0.0),
        ({"a": A, "b": B + np.float32(0.25)}, 0, ["b"], 0.25),
        ({"a": A, "b": B + np.float32(0.25)}, 0.25, [], 0.25),
        ({"a": A}, 1, ["b"], None),
        ({"a": A, "b": B[:1]}, 1, ["b"], None),
        ({"a": A, "b": B, "c": A}, 1, ["c"], None),
        ({"a": A, "b": B * np.float32("nan")}, 1, ["b"], None),
    ],
)
def test_adapters_differ_by_shape_by_name_and_by_number(
    again: dict[str, np.ndarray], tolerance: float, differing: list[str], largest: float | None
) -> None:
    diff = compare_tensors({"a": A, "b": B}, again, tolerance)

    assert (diff.differing, diff.largest) == (differing, largest)


@pytest.mark.parametrize("broken", ["metrics.jsonl", "adapter/adapter_model.safetensors"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, broken: str) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "metrics.jsonl").write_text('{"step":1}\n')
    (tmp_path / broken).write_bytes(b"{")

    with pytest.raises(PairstreamError, match=broken):
        read_outcome(tmp_path)
