"""The palette: what is read, and what tells things apart, has the contrast of WCAG AA."""

import re
from pathlib import Path

import pytest

import pairstream.ui

STYLE = (Path(pairstream.ui.__file__).with_name("static") / "style.css").read_text()

TEXTS = [
    *((text, ground) for text in ("text", "muted", "link", "good", "bad")
      for ground in ("bg", "surface")),
    ("warn-text", "warn-bg"), ("text", "good-bg"), ("text", "ins-bg"), ("text", "del-bg"),
    ("mark-text", "mark-bg"), ("bg", "link"), ("text", "line"),
]  # fmt: skip
# What is no text: lines of charts, edges of fields, the ring of the focus.
SHAPES = [
    (name, ground)
    for name in ("s1", "s2", "s3", "s4", "s5", "s6", "s7", "edge", "focus")
    for ground in ("bg", "surface")
]


def palette(scheme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    block = light if scheme == "light" else dark
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, relative luminance."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_contrast_is_computed_as_the_norm_has_it() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("front", "ground", "least"),
    [*((*pair, 4.5) for pair in TEXTS), *((*pair, 3.0) for pair in SHAPES)],
)
def test_contrast_is_enough(scheme: str, front: str, ground: str, least: float) -> None:
    colours = palette(scheme)

    assert contrast(colours[front], colours[ground]) >= least


def test_both_palettes_name_the_same_colours() -> None:
    assert palette("light").keys() == palette("dark").keys()
    assert set(re.findall(r"var\(--([\w-]+)\)", STYLE)) - {"mono"} <= palette("light").keys()


def test_templates_hold_no_style_and_no_script_of_their_own() -> None:
    """The content policy would refuse them."""
    for template in (Path(pairstream.ui.__file__).parent / "templates").glob("*.html"):
        text = template.read_text()

        assert not re.search(r"\sstyle=|<style|\son\w+=|<script>|javascript:", text), template
        assert not re.search(r"(?:href|src|action)=\"https?:", text), template
