"""Who may ask: which hosts' names are answered, which posts are ours, who knows the token. Pure."""

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from schemas.errors import InvalidSettings

CONTENT_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

# `same-origin`, not `no-referrer`, with which browsers call the origin of a form `null`.
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

LEAST_TOKEN_CHARACTERS = 16


def is_loopback(host: str) -> bool:
    """Whether a server on this address can be reached from this machine alone."""
    address = _address(host)
    return address.is_loopback if address is not None else host == "localhost"


def check_token(host: str, token: str | None) -> None:
    """Raises: InvalidSettings where there is none and must be one, or it could be guessed."""
    if token is None and not is_loopback(host):
        raise InvalidSettings(
            f"--host {host} can be reached from elsewhere: set PAIRSTREAM_UI_TOKEN or "
            "PAIRSTREAM_UI_TOKEN_FILE, which callers then must know"
        )
    if token is not None and len(token) < LEAST_TOKEN_CHARACTERS:
        raise InvalidSettings(
            f"the token of the site has fewer than {LEAST_TOKEN_CHARACTERS} characters: take "
            "what `openssl rand -hex 16` gives"
        )


def knows_token(authorization: str | None, token: str) -> bool:
    """Whether a header carries it: as Bearer, or as the password of Basic, whoever the user is.

    Takes the same time wherever the first difference is.
    """
    kind, _, given = (authorization or "").partition(" ")
    if kind.lower() == "basic":
        try:
            given = base64.b64decode(given.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif kind.lower() != "bearer":
        return False
    return _is_same(given.strip(), token)


def is_host_ours(host: str | None, names: Collection[str]) -> bool:
    """Whether a Host header names an address, this machine, or one of the names it goes by.

    A page elsewhere whose name was bent to this address (DNS rebinding) would send its own name.
    """
    name = _host_name(host)
    if name is None:
        return False
    return _address(name) is not None or name == "localhost" or name in names


def is_post_ours(host: str | None, origin: str | None, fetch_site: str | None) -> bool:
    """Whether a form was sent by one of our own pages, by what the browser says of it."""
    if origin is None:
        return fetch_site == "same-origin"
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == (host or "").lower()
    except ValueError:
        return False


def is_form_ours(given: str | None, wanted: str) -> bool:
    """Whether a form carries what only our pages can have told it."""
    return _is_same(given or "", wanted)


def _is_same(given: str, wanted: str) -> bool:
    """Bytes of a request that are no UTF-8 stand in its text as surrogates."""
    return hmac.compare_digest(
        given.encode(errors="surrogatepass"), wanted.encode(errors="surrogatepass")
    )


def _host_name(host: str | None) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname if host else None
    except ValueError:
        return None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
