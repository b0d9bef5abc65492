"""How the worker's group member (aiokafka) proves who it is: what librdkafka's clients do by
themselves, from the same settings.
"""

import asyncio
import base64
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import faust
import msgspec
import structlog
from aiokafka.abc import AbstractTokenProvider

from schemas.errors import InvalidSettings
from schemas.settings import KafkaSettings

log = structlog.get_logger()

TOKEN_SECONDS = 10.0
TOKEN_MAX_BYTES = 1_000_000
# Of a token's life; librdkafka asks for the next one as early.
USED_SHARE = 0.8


def credentials(settings: KafkaSettings) -> Any:
    """Faust's credentials; None without any. Raises: InvalidSettings."""
    context = None
    if settings.security_protocol.endswith("SSL"):
        context = _tls(settings)
    if not settings.security_protocol.startswith("SASL"):
        return faust.SSLCredentials(context) if context else None
    if settings.sasl_mechanism == "OAUTHBEARER":
        return faust.OAuthCredentials(oauth_cb=TokenProvider(settings), ssl_context=context)
    return faust.SASLCredentials(
        username=settings.sasl_username,
        password=settings.sasl_password,
        mechanism=settings.sasl_mechanism or "PLAIN",
        ssl_context=context,
    )


def _tls(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ssl_ca_location)
        if settings.ssl_certificate_location:
            context.load_cert_chain(
                settings.ssl_certificate_location,
                settings.ssl_key_location,
                # Without one OpenSSL would ask on the terminal.
                settings.ssl_key_password or "",
            )
    except OSError as error:
        raise InvalidSettings(
            f"the certificates cannot be used ({error}): check PAIRSTREAM_SSL_CA_LOCATION, "
            "PAIRSTREAM_SSL_CERTIFICATE_LOCATION, PAIRSTREAM_SSL_KEY_LOCATION and "
            "PAIRSTREAM_SSL_KEY_PASSWORD"
        ) from error
    return context


class _Answer(msgspec.Struct):
    access_token: str
    expires_in: float = 0.0


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Tokens by client credentials (RFC 6749, 4.4), each used for most of its life.

    A failure is an OSError, as of a broker that cannot be reached: aiokafka tries again.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        """Raises: InvalidSettings when the settings name no token endpoint or no client."""
        url, name = settings.sasl_oauthbearer_token_endpoint_url, "TOKEN_ENDPOINT_URL"
        client, secret = (
            settings.sasl_oauthbearer_client_id,
            settings.sasl_oauthbearer_client_secret,
        )
        if url is None or client is None or secret is None:
            name = "CLIENT_ID" if client is None else "CLIENT_SECRET" if secret is None else name
            raise InvalidSettings(f"OAUTHBEARER needs PAIRSTREAM_SASL_OAUTHBEARER_{name}: set it")
        form = {"grant_type": "client_credentials"}
        if settings.sasl_oauthbearer_scope:
            form["scope"] = settings.sasl_oauthbearer_scope
        basic = base64.b64encode(f"{client}:{secret}".encode()).decode()
        self._request = urllib.request.Request(  # noqa: S310 - http or https by its pattern
            url,
            urllib.parse.urlencode(form).encode(),
            {"Authorization": f"Basic {basic}", "Accept": "application/json"},
        )
        self._tls = ssl.create_default_context(cafile=settings.https_ca_location)
        # The group's member and the rest of the worker have loops in threads of their own.
        self._lock = threading.Lock()
        self._token, self._use_until = "", 0.0

    async def token(self) -> str:
        """Raises: OSError."""
        return await asyncio.to_thread(self._fresh)

    def _fresh(self) -> str:
        with self._lock:
            if time.monotonic() >= self._use_until:
                try:
                    answer = self._fetch()
                except OSError as error:
                    log.warning("token_not_given", why=str(error))
                    raise
                self._token = answer.access_token
                self._use_until = time.monotonic() + answer.expires_in * USED_SHARE
            return self._token

    def _fetch(self) -> _Answer:
        with urllib.request.urlopen(  # noqa: S310 - http or https by its pattern
            self._request, timeout=TOKEN_SECONDS, context=self._tls
        ) as response:
            body = response.read(TOKEN_MAX_BYTES)
        try:
            return msgspec.json.decode(body, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ConnectionError("the token endpoint's answer holds no token") from error
