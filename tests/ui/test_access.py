"""Who is let in."""

import base64

import pytest

from pairstream.ui.access import (
    check_token,
    is_form_ours,
    is_host_ours,
    is_loopback,
    is_post_ours,
    knows_token,
)
from schemas.errors import InvalidSettings

TOKEN = "0123456789abcdef"


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("192.168.1.5", False), ("example.com", False),
     ("localhost.example.com", False)],
)  # fmt: skip
def test_loopback_is_known(host: str, is_ours: bool) -> None:
    assert is_loopback(host) == is_ours


@pytest.mark.parametrize(
    ("header", "is_let_in"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN} ", True),
        (basic(f"anybody:{TOKEN}"), True),
        (basic(f":{TOKEN}"), True),
        (basic(TOKEN), False),
        (basic(f"{TOKEN}:"), False),
        ("Basic ***", False),
        ("Basic /w==", False),
        (f"Bearer {TOKEN}0", False),
        (f"Bearer {TOKEN[:-1]}", False),
        ("Bearer ü", False),
        ("Bearer \udcff", False),
        (f"Digest {TOKEN}", False),
        (TOKEN, False),
        ("", False),
        (None, False),
    ],
)
def test_the_token_is_asked_for(header: str | None, is_let_in: bool) -> None:
    assert knows_token(header, TOKEN) == is_let_in


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [("127.0.0.1:8321", True), ("localhost", True), ("LOCALHOST:1", True), ("[::1]:8321", True),
     ("10.1.2.3", True), ("ui.example.com:443", True), ("UI.example.com", True),
     ("evil.example.com", False), ("127.0.0.1.evil.com", False), ("localhost.evil.com", False),
     ("", False), (None, False), ("[", False)],
)  # fmt: skip
def test_a_name_that_was_bent_to_this_address_is_refused(host: str | None, is_ours: bool) -> None:
    assert is_host_ours(host, {"ui.example.com"}) == is_ours


@pytest.mark.parametrize(
    ("origin", "site", "is_ours"),
    [
        ("http://127.0.0.1:8321", None, True),
        ("https://127.0.0.1:8321", "same-origin", True),
        ("http://127.0.0.1:9999", "same-site", False),
        ("http://evil.example.com", "cross-site", False),
        ("null", "cross-site", False),
        ("http://[", "same-origin", False),
        (None, "same-origin", True),
        (None, "none", False),
        (None, None, False),
    ],
)
def test_forms_of_other_sites_are_refused(
    origin: str | None, site: str | None, is_ours: bool
) -> None:
    assert is_post_ours("127.0.0.1:8321", origin, site) == is_ours


def test_a_form_needs_what_only_our_page_knows() -> None:
    assert is_form_ours("secret", "secret")
    assert not is_form_ours("\ud800", "secret")
    assert not is_form_ours("other", "secret")
    assert not is_form_ours(None, "secret")


def test_no_token_is_needed_on_loopback_alone() -> None:
    check_token("127.0.0.1", None)
    check_token("::", TOKEN)
    with pytest.raises(InvalidSettings, match="PAIRSTREAM_UI_TOKEN"):
        check_token("0.0.0.0", None)
    with pytest.raises(InvalidSettings, match="openssl rand"):
        check_token("0.0.0.0", "short")
