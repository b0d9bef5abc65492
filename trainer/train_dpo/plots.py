"""How the training went, as a picture: the same figures give the same bytes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from .files import Log

# A panel for each: its title, and its lines as (label, key of the logs).
PANELS = (
    ("loss", (("training", "loss"), ("held out", "eval_loss"))),
    ("margin", (("training", "rewards/margins"), ("held out", "eval_rewards/margins"))),
    ("accuracy", (("training", "rewards/accuracies"), ("held out", "eval_rewards/accuracies"))),
    ("log-probabilities", (("chosen", "logps/chosen"), ("rejected", "logps/rejected"))),
)

# KTO has no accuracy, and tells how far the policy has moved away.
KL_PANEL = ("distance from the reference", (("training", "kl"), ("held out", "eval_kl")))


def panels_of(logs: list[Log]) -> list[Any]:
    moves = any("kl" in log for log in logs)
    return [KL_PANEL if moves and title == "accuracy" else (title, n) for title, n in PANELS]


def draw(logs: list[Log], folder: Path) -> None:
    """Write `training.svg` and `training.png`; where there is no matplotlib, say so."""
    if importlib.util.find_spec("matplotlib") is None:
        print("no plots: matplotlib is not in this environment")
        return
    import matplotlib
    from matplotlib.figure import Figure

    folder.mkdir(exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "pairstream", "font.size": 9}):
        figure = Figure(figsize=(9, 6), layout="constrained")
        for axes, (title, lines) in zip(figure.subplots(2, 2).flat, panels_of(logs), strict=True):
            draw_panel(axes, title, [(label, points(logs, key)) for label, key in lines])
        figure.savefig(folder / "training.svg", metadata={"Date": None})
        figure.savefig(folder / "training.png", dpi=120, metadata={"Software": None})


Points = list[tuple[float, float]]


def points(logs: list[Log], key: str) -> Points:
    return [(log["step"], log[key]) for log in logs if key in log]


def draw_panel(axes: Any, title: str, lines: list[tuple[str, Points]]) -> None:
    for label, line in lines:
        if line:
            steps, values = zip(*line, strict=True)
            axes.plot(steps, values, marker="o" if len(line) == 1 else None, label=label)
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    if any(line for _, line in lines):
        axes.legend()
