"""Charts as SVG, drawn on the server. Pure.

Colours come from the style sheet by class, and no line is told by its colour alone: each has dashes
of its own. Every chart says in words what it shows; the page puts its figures in a table below it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

# Of a chart that has half the page; one that has all of it is `WIDE`.
WIDTH, HEIGHT = 640, 220
WIDE = 1160
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 34
MAX_POINTS = 300
TICKS = 4
# Of the values themselves: curves that differ by less are drawn as flat.
FLAT = 1e-9
BAR_SHARE = 0.8
MAX_BAR = 56


class Series(NamedTuple):
    """One line: its name and its points, by x."""

    name: str
    points: Sequence[tuple[float, float]]


class Bin(NamedTuple):
    """One column: what stands below it, and its parts by name."""

    label: str
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())


class _Scale(NamedTuple):
    """From values to places on the picture."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def number(value: float) -> str:
    """A figure for people: 1,234; 0.123; 4.5e-05."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"


def ticks(low: float, high: float) -> list[float]:
    """Round values from below `low` to above `high`, about `TICKS` of them."""
    if high - low <= FLAT * max(1.0, abs(low), abs(high)):
        margin = max(1.0, abs(low) / 1000)
        low, high = (low - margin, low + margin) if low else (0.0, 1.0)
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(each * step, 12) for each in range(first, last + 1)]


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """So many points at most, the first and the last among them."""
    if len(points) <= MAX_POINTS:
        return list(points)
    step = (len(points) - 1) / (MAX_POINTS - 1)
    return [points[round(each * step)] for each in range(MAX_POINTS)]


def line_chart(
    title: str, series: Sequence[Series], *, x_name: str, width: int = WIDTH
) -> Markup | None:
    """Lines over a common x; None where there is nothing to draw."""
    drawn = [Series(each.name, thinned(each.points)) for each in series if each.points]
    if not drawn:
        return None
    xs = [x for each in drawn for x, _ in each.points]
    ys = [y for each in drawn for _, y in each.points]
    y_ticks = ticks(min(ys), max(ys))
    across = _Scale(min(xs), max(max(xs), min(xs) + 1e-9), LEFT, width - RIGHT)
    up = _Scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    x_ticks = [tick for tick in ticks(min(xs), max(xs)) if min(xs) <= tick <= max(xs)]
    labels = [(across.at(tick), number(tick)) for tick in x_ticks]
    parts = [_grid(up, y_ticks, width), _x_labels(labels, x_name, width)]
    for place, each in enumerate(series, 1):
        line = next((found for found in drawn if found.name == each.name), None)
        if line is not None:
            parts.append(_line(line, place, across, up))
    ends = "; ".join(
        f"{each.name} from {number(each.points[0][1])} to {number(each.points[-1][1])}"
        for each in drawn
    )
    return _picture(f"{title} by {x_name}: {ends}", parts, width)


def _line(series: Series, place: int, across: _Scale, up: _Scale) -> Markup:
    places = [(across.at(x), up.at(y)) for x, y in series.points]
    if len(places) == 1:
        return Markup('<circle class="dot s{}" cx="{}" cy="{}" r="4"/>').format(place, *places[0])
    path = " ".join(f"{x},{y}" for x, y in places)
    return Markup('<polyline class="line s{}" points="{}"/>').format(place, path)


def column_chart(title: str, bins: Sequence[Bin], names: Sequence[str]) -> Markup | None:
    """Stacked columns, the first name at the bottom; None where there is nothing to draw."""
    most = max((each.total for each in bins), default=0)
    if not most:
        return None
    y_ticks = ticks(0, most)
    up = _Scale(0, y_ticks[-1], HEIGHT - BOTTOM, TOP)
    slot = (WIDE - LEFT - RIGHT) / len(bins)
    parts = [_grid(up, y_ticks, WIDE)]
    width = min(slot * BAR_SHARE, MAX_BAR)
    for place, each in enumerate(bins):
        parts.append(_column(each, names, up, LEFT + slot * (place + 0.5) - width / 2, width))
    every = max(1, math.ceil(len(bins) / 12))
    labels = [
        (round(LEFT + slot * (place + 0.5), 1), each.label)
        for place, each in enumerate(bins)
        if place % every == 0
    ]
    parts.append(_x_labels(labels, "", WIDE))
    sums = {name: sum(each.parts.get(name, 0) for each in bins) for name in names}
    told = ", ".join(f"{number(total)} {name}" for name, total in sums.items() if total)
    return _picture(f"{title}, {bins[0].label} to {bins[-1].label}: {told}", parts, WIDE)


def _column(each: Bin, names: Sequence[str], up: _Scale, left: float, width: float) -> Markup:
    boxes, below = [], 0
    for place, name in enumerate(names, 1):
        runs = each.parts.get(name, 0)
        if not runs:
            continue
        top, bottom = up.at(below + runs), up.at(below)
        below += runs
        size = round(left, 1), top, round(width, 1), round(bottom - top, 1)
        box = Markup(
            '<rect class="fill s{}" x="{}" y="{}" width="{}" height="{}">'
            "<title>{}: {} {}</title></rect>"
        )
        boxes.append(box.format(place, *size, each.label, number(runs), name))
    return Markup("").join(boxes)


def _grid(up: _Scale, values: Sequence[float], width: int) -> Markup:
    line = Markup(
        '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        '<text class="tick end" x="{}" y="{}">{}</text>'
    )
    return Markup("").join(
        line.format(
            LEFT, width - RIGHT, up.at(v), up.at(v), LEFT - 6, round(up.at(v) + 4, 1), number(v)
        )
        for v in values
    )


def _x_labels(labels: Sequence[tuple[float, str]], name: str, width: int) -> Markup:
    text = Markup('<text class="tick {}" x="{}" y="{}">{}</text>')
    shown = [
        text.format(_anchor(place, width), place, HEIGHT - BOTTOM + 16, label)
        for place, label in labels
    ]
    if name:
        middle = round((LEFT + width - RIGHT) / 2, 1)
        shown.append(text.format("middle", middle, HEIGHT - 4, name))
    return Markup("").join(shown)


def _anchor(place: float, width: int) -> str:
    """Labels at the right edge end there."""
    return "end" if place > width - RIGHT - 24 else "middle"


def _picture(says: str, parts: Sequence[Markup], width: int) -> Markup:
    svg = Markup('<svg class="chart{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return svg.format(" wide" if width == WIDE else "", width, HEIGHT, says, Markup("").join(parts))


def share_bar(value: float, most: float, place: int = 1) -> Markup:
    """A bar beside a figure in a table, which says the same."""
    width = round(100 * value / most, 1) if most > 0 else 0
    return Markup(
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="rest" width="100" height="10"/>'
        '<rect class="fill s{}" width="{}" height="10"/></svg>'
    ).format(place, width)
