"""The pictures of docs/performance.md, drawn from the results."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes

Document = dict[str, Any]

SIZE = (7.0, 3.2)
OURS, THEIRS, GOAL = "#1f6f8b", "#b8b8b8", "#c8553d"

NAMES = {
    "bare": "bare loop",
    "worker": "pairstream",
    "quix": "Quix Streams",
    "stock_faust": "stock Faust",
    "aiokafka": "aiokafka",
    "one_core": "1 worker, all on 1 core",
    "two_cores": "2 workers on 2 cores",
    "four_partitions": "1 worker, 4 partitions",
    "eight_partitions": "1 worker, 8 partitions",
}


def draw_all(folder: Path) -> None:
    """A picture for each result that is in the folder and has one."""
    # The same figures give the same bytes.
    matplotlib.rcParams["svg.hashsalt"] = "pairstream"
    for letter, draw in PICTURES.items():
        source = folder / f"{letter}.json"
        if source.exists():
            _draw(draw, json.loads(source.read_text()), folder / f"{letter}.svg")


def _draw(draw: "Callable[[Axes, Document], None]", found: Document, target: Path) -> None:
    figure, axes = pyplot.subplots(figsize=SIZE, layout="constrained")
    draw(axes, found)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, metadata={"Date": None})
    pyplot.close(figure)


def _rates(axes: Axes, found: Document, names: Sequence[str]) -> None:
    """Bars of the medians, with a dot for each turn."""
    present = [name for name in names if name in found["medians"]][::-1]
    medians = [found["medians"][name] for name in present]
    colours = [THEIRS if name in ("bare", *_PEERS) else OURS for name in present]
    labels = [NAMES[name] for name in present]
    bars = axes.barh(labels, medians, color=colours)
    axes.bar_label(bars, [f"{median:,.0f}" for median in medians], padding=6)
    for place, name in enumerate(present):
        values = [turn[name] for turn in found["turns"]]
        axes.plot(values, [place] * len(values), "k.", markersize=4)
    axes.set_xlabel("events a second")
    axes.margins(x=0.15)
    axes.xaxis.set_major_formatter("{x:,.0f}")


_PEERS = ("quix", "stock_faust", "aiokafka")


def _settling(axes: Axes, found: Document) -> None:
    _rates(axes, found, ("bare", "worker", *_PEERS))
    [goal] = [goal for goal in found["goals"] if goal["figure"] == "of_bare"]
    axes.axvline(goal["bound"] * found["medians"]["bare"], color=GOAL, linestyle="--")
    axes.set_title(f"{found['what']} (dashed: {goal['bound']:g} of bare)")


def _latency(axes: Axes, found: Document) -> None:
    shares = [name for name in found["medians"] if name.startswith("p") and name.endswith("_ms")]
    labels = [name.removesuffix("_ms") for name in shares]
    for turn in found["turns"]:
        axes.plot(labels, [turn[name] for name in shares], color=OURS, marker=".")
    for goal in found["goals"]:
        place = labels.index(goal["figure"].removesuffix("_ms"))
        axes.plot(place, goal["bound"], marker="_", markersize=18, color=GOAL)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("milliseconds")
    axes.set_title(f"{found['what']} (a line a turn; bars: goals)")


def _restart(axes: Axes, found: Document) -> None:
    parts = {
        "process_start_seconds": "start of the process",
        "join_and_restore_seconds": "join the group, restore the state",
        "fold_and_write_seconds": "fold and write",
    }
    turns = [f"turn {number + 1}" for number in range(len(found["turns"]))][::-1]
    begins = [0.0] * len(turns)
    for (name, label), shade in zip(parts.items(), (THEIRS, OURS, "#84a98c"), strict=True):
        values = [turn[name] for turn in reversed(found["turns"])]
        axes.barh(turns, values, left=begins, label=label, color=shade)
        begins = [begin + value for begin, value in zip(begins, values, strict=True)]
    [goal] = [goal for goal in found["goals"] if goal["figure"] == "first_row_seconds"]
    axes.axvline(goal["bound"], color=GOAL, linestyle="--")
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    axes.set_xlabel("seconds to the first new row (dashed: goal)")
    axes.set_title(f"restart after SIGKILL with {found['facts']['open_runs']:,} open runs")


def _scaling(axes: Axes, found: Document) -> None:
    names = ("one_core", "two_cores", "four_partitions", "eight_partitions")
    _rates(axes, found, names)
    axes.set_title("workers, cores and partitions")


PICTURES: dict[str, Callable[[Axes, Document], None]] = {
    "a": _settling, "b": _settling, "d": _latency, "e": _restart, "k": _scaling
}  # fmt: skip
