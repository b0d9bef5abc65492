"""Untrusted text as text: escaped, and with nothing in it that cannot be seen."""

import html
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairstream.ui.rendering import as_markup, link
from pairstream.ui.shown import cut, shown_line, shown_text

TAG = re.compile(r'<span class="mark">([^<>]*)</span>')


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>&\"'", "&lt;b&gt;&amp;&#34;&#39;"),
        ("\x1b[31m", '<span class="mark">\\x1b</span>[31m'),
        ("a\u202eb", 'a<span class="mark">\\u202e</span>b'),
        ("\x00\x07", '<span class="mark">\\x00\\x07</span>'),
        ("\\x1b", "\\x1b"),
        ("one\r\n\ttwo", 'one<span class="mark">\\r</span>\n\ttwo'),
        ("a\u2028b", 'a<span class="mark">\\u2028</span>b'),
        ("清理 naïve 🎉", "清理 naïve 🎉"),
    ],
)
def test_text_is_shown_with_marks_for_what_cannot_be_seen(text: str, shown: str) -> None:
    assert shown_text(text) == shown


@given(st.text())
def test_no_text_makes_markup_or_hides_anything(text: str) -> None:
    shown = TAG.sub(lambda match: match[1], str(shown_text(text)))

    assert not set(shown) & set("<>\"'")
    for character in html.unescape(shown):
        assert character in "\n\t" or unicodedata.category(character)[0] not in "C"
        assert unicodedata.category(character) not in ("Zl", "Zp")


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" \n\t")))
def test_plain_text_stays_what_it_is(text: str) -> None:
    assert html.unescape(str(shown_text(text))) == text


def test_lines_are_cut_at_their_width_and_have_no_breaks() -> None:
    assert shown_line("abc", 3) == "abc"
    assert shown_line("abcd", 3) == "abc…"
    assert shown_line("a\nb") == 'a<span class="mark">\\n</span>b'


def test_a_cut_says_what_it_leaves_out() -> None:
    assert cut("abcdef", 4) == ("abcd", 2)
    assert cut("abc", 4) == ("abc", 0)


def test_what_a_template_prints_is_marked_unless_it_was_made_here() -> None:
    assert as_markup("\x1b") == shown_text("\x1b")
    assert as_markup(shown_text("<")) == "&lt;"
    assert as_markup(7) == 7


def test_links_quote_what_stands_in_them() -> None:
    assert link("/run", id="a/../b?&\"<'\n") == "/run?id=a%2F..%2Fb%3F%26%22%3C%27%0A"
    assert link("/pairs", agent="", before=None) == "/pairs"
