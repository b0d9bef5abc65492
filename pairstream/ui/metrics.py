"""What a training writes as it goes: its metrics as lines of a chart, the end of its log."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from markupsafe import Markup

from pairstream.ui.charts import Series, line_chart
from schemas.json_errors import JSON_ERRORS
from trainer.layout import open_to_read

# The file grows with the steps; of a longer one the newest part is drawn.
METRICS_BYTES = 8 * 2**20
LOG_BYTES, LOG_LINES = 32 * 1024, 40

# What is larger no training tells, and no chart can scale.
MAX_FIGURE = 1e100

# A chart for each: its title, and its lines by name and key of the metrics.
PANELS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("Loss", (("training", "loss"), ("held out", "eval_loss"))),
    ("Margin", (("training", "rewards/margins"), ("held out", "eval_rewards/margins"))),
    ("Accuracy", (("training", "rewards/accuracies"), ("held out", "eval_rewards/accuracies"))),
    ("Log-probabilities", (("chosen", "logps/chosen"), ("rejected", "logps/rejected"))),
)


def read_end(path: Path, most: int) -> bytes:
    """The last bytes of a file; empty where there is none, or something else in its place."""
    try:
        with open_to_read(path) as file:
            file.seek(max(0, file.seek(0, 2) - most))
            return file.read()
    except FileNotFoundError:
        return b""


def read_log(path: Path) -> str:
    """Its newest lines, as far as they are not longer than is shown."""
    return "\n".join(read_end(path, LOG_BYTES).decode(errors="replace").splitlines()[-LOG_LINES:])


def read_metrics(path: Path) -> list[Mapping[str, Any]]:
    """The whole lines of metrics that can be read, oldest first; the last may be half written."""
    *whole, _ = read_end(path, METRICS_BYTES).split(b"\n")
    return list(_lines(whole))


def _lines(lines: Iterable[bytes]) -> Iterable[Mapping[str, Any]]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    for line in lines:
        try:
            found = decoder.decode(line)
        except JSON_ERRORS:
            continue
        if isinstance(found.get("step"), int) and _is_figure(found["step"]):
            yield found


def charts(metrics: Iterable[Mapping[str, Any]]) -> list[tuple[str, list[Series], Markup]]:
    """Title, lines and picture of each panel that has something to show. Pure."""
    rows = list(metrics)
    shown = []
    for title, keys in PANELS:
        series = [Series(name, _points(rows, key)) for name, key in keys]
        picture = line_chart(title, series, x_name="step")
        if picture is not None:
            shown.append((title, [each for each in series if each.points], picture))
    return shown


def _points(rows: Iterable[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    return [(row["step"], row[key]) for row in rows if _is_figure(row.get(key))]


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= MAX_FIGURE
