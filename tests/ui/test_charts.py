"""Charts: round ticks, bounded points, words for those who do not see them."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pairstream.ui.charts import (
    MAX_POINTS,
    Bin,
    Series,
    column_chart,
    line_chart,
    number,
    share_bar,
    thinned,
    ticks,
)
from pairstream.ui.pages.yields import COLUMNS, columns

FINITE = st.floats(-1e9, 1e9)


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (0, 1, [0, 0.5, 1]),
        (0.31, 0.69, [0.3, 0.4, 0.5, 0.6, 0.7]),
        (5, 5, [4, 4.5, 5, 5.5, 6]),
        (0, 0, [0, 0.5, 1]),
        (-300, -120, [-300, -250, -200, -150, -100]),
    ],
)
def test_ticks_are_round(low: float, high: float, found: list[float]) -> None:
    assert ticks(low, high) == found


@given(FINITE, FINITE)
@example(0.0, 5e-324)
@example(0.0, 1e-13)
@example(1e12, 1e12)
def test_ticks_hold_what_is_drawn_between_them(a: float, b: float) -> None:
    found = ticks(min(a, b), max(a, b))
    slack = 1e-6 * max(1.0, abs(a), abs(b))

    assert 2 <= len(set(found)) == len(found) <= 8
    assert found[0] <= min(a, b) + slack
    assert found[-1] >= max(a, b) - slack


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1234567, "1,234,567"), (0.12345, "0.1235"), (1234.56, "1,234.6"), (0, "0"), (3.0, "3"),
     (4.5e-5, "4.5e-05"), (float("nan"), "nan")],
)  # fmt: skip
def test_numbers_are_written_for_people(value: float, shown: str) -> None:
    assert number(value) == shown


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=1000))
def test_lines_keep_their_ends_when_points_are_left_out(points: list[tuple[float, float]]) -> None:
    kept = thinned(points)

    assert len(kept) == min(len(points), MAX_POINTS)
    assert (kept[0], kept[-1]) == (points[0], points[-1])


def test_a_line_chart_is_sound_and_says_what_it_shows() -> None:
    picture = line_chart(
        "Loss", [Series("a<b", [(1, 0.5), (2, 0.25)]), Series("none", [])], x_name="step"
    )

    assert picture is not None
    svg = ET.fromstring(str(picture))
    assert (svg.get("role"), svg.get("aria-label")) == (
        "img", "Loss by step: a<b from 0.5 to 0.25",
    )  # fmt: skip
    assert len(svg.findall("polyline")) == 1


def test_columns_are_stacked_and_say_what_they_show() -> None:
    picture = column_chart("Runs", [Bin("one", {"x": 1, "y": 3}), Bin("two", {})], ["x", "y"])

    assert picture is not None
    svg = ET.fromstring(str(picture))
    assert svg.get("aria-label") == "Runs, one to two: 1 x, 3 y"
    lower, upper = (float(box.get("y", "")) for box in svg.findall("rect"))
    assert upper < lower


def test_nothing_gives_no_chart() -> None:
    assert line_chart("Loss", [Series("a", [])], x_name="step") is None
    assert column_chart("Runs", [Bin("one", {})], ["x"]) is None


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_bars_are_no_wider_than_their_rest(value: float, most: float) -> None:
    ET.fromstring(str(share_bar(min(value, most), most)))
    bar = ET.fromstring(str(share_bar(min(value, most), most))).findall("rect")[1]

    assert 0 <= float(bar.get("width", "")) <= 100


@example([(-1, "a", 1), (10**14, "a", 1)])  # of strangers, in no calendar
@example([(7201, "a", 1), (41760, "a", 1)])  # 48 months long, and 49 of the calendar's
@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from("ab"), st.integers(1, 9))))
def test_columns_over_time_are_few_and_lose_only_what_is_too_old(
    hours: list[tuple[int, str, int]],
) -> None:
    found = columns(sorted(hours))

    assert len(found) <= COLUMNS
    if hours and max(hours)[0] - min(hours)[0] < 10**5:
        assert sum(each.total for each in found) == sum(runs for _, _, runs in hours)
