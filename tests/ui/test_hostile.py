"""What agents wrote to harm who looks at it stays text, and a page stays small and quick."""

import html
import re
import time

import pytest

from tests.ui.conftest import hostile_pair
from tests.ui.hostile import LONG, TEXTS
from tests.ui.sites import SiteProcess

pytestmark = pytest.mark.long

PAGE_MAX_BYTES = 1_500_000

# Characters that steer a terminal or turn the order of what is read.
STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\u061c]"
)


def paths(name: str) -> dict[str, str]:
    pair = hostile_pair(name, TEXTS[name])
    return {"pair": pair.pair_id, "run": pair.run_id}


@pytest.mark.parametrize("name", TEXTS)
def test_it_is_text_on_every_page_that_shows_it(files: SiteProcess, name: str) -> None:
    found = paths(name)
    pages = [
        files.get("/pairs"), files.get("/pair", id=found["pair"]),
        files.get("/run", id=found["run"]), files.get("/pairs", agent=TEXTS[name][:200]),
        files.get("/runs", task=TEXTS[name][:200]),
        files.get("/yield", by="agent", name=TEXTS[name][:200]),
    ]  # fmt: skip

    for page in pages:
        assert page.status == 200
        assert len(page.body) < PAGE_MAX_BYTES
        # A field of a filter holds what was asked for, to be sent again as it is.
        assert not STEERING.search(re.sub(r' value="[^"]*"', "", page.text))
        assert "<script>document" not in page.text
        assert "<img src=x" not in page.text
        assert not re.search(r"<[^>]*\sonfocus=\"", page.text)


@pytest.mark.parametrize("name", TEXTS)
def test_the_raw_text_is_there_as_it_was(files: SiteProcess, name: str) -> None:
    pair = paths(name)["pair"]

    for part, text in (("chosen", TEXTS[name]), ("rejected", f"was {TEXTS[name]}"),
                       ("0", TEXTS[name])):  # fmt: skip
        raw = files.get("/pair/text", id=pair, part=part)
        assert raw.body == text.encode()
        assert raw.headers["Content-Disposition"].startswith("attachment;")
        assert raw.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert raw.headers["X-Content-Type-Options"] == "nosniff"


def test_marks_name_what_cannot_be_seen(files: SiteProcess) -> None:
    page = html.unescape(files.get("/pair", id=paths("bidi")["pair"]).text)
    assert (
        '<span class="mark">\\u202e\\u2066</span>// admin<span class="mark">\\u2069</span>' in page
    )
    page = files.get("/pair", id=paths("ansi")["pair"]).text
    assert '<span class="mark">\\x1b</span>[31mred' in page


@pytest.mark.parametrize("name", ["long", "lines"])
def test_huge_texts_neither_hang_a_page_nor_blow_it(files: SiteProcess, name: str) -> None:
    began = time.monotonic()

    page = files.get("/pair", id=paths(name)["pair"])

    # Compared as a whole these would take hours.
    assert time.monotonic() - began < 20
    assert "Only the beginnings are compared and shown" in page.text
    assert "as a text file" in page.text
    if name == "long":
        assert f"{LONG - 24 * 1024:,} of chosen" in page.text


def test_filters_that_are_no_numbers_say_so(files: SiteProcess) -> None:
    page = files.get("/pairs", gap_from="<b>", before="x; DROP TABLE pairs")

    assert "&lt;b&gt; is no number" in page.text
    assert f"{len(TEXTS)} in all" in page.text
