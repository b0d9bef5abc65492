"""Gives signed tokens (JWT) to clients that know their secret, on loopback (RFC 6749, 4.4)."""

import base64
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

AUDIENCE = "kafka"
ISSUER = "tests"
KEY_ID = "key-1"


class TokenServer:
    """A context manager. `given` holds the clients that got a token, in order."""

    def __init__(self, secrets: Mapping[str, str], *, life_seconds: int = 3600) -> None:
        self._secrets = secrets
        self._key = generate_private_key(public_exponent=65537, key_size=2048)
        self.life_seconds = life_seconds
        self.given: list[str] = []
        self.scopes: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Not to standard error."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/token"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers["Content-Length"])
        form = parse_qs(request.rfile.read(length).decode())
        _, _, basic = request.headers.get("Authorization", "").partition("Basic ")
        client, _, secret = base64.b64decode(basic).decode().partition(":")
        is_right = self._secrets.get(client) == secret
        if form.get("grant_type") != ["client_credentials"] or not is_right:
            request.send_error(401)
            return
        self.given.append(client)
        self.scopes.append(form.get("scope", [None])[0])
        body = json.dumps(
            {"access_token": self.token(client), "expires_in": self.life_seconds}
        ).encode()
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def token(self, client: str) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": client, "scope": "pairstream",
            "iat": now, "exp": now + self.life_seconds,
        }  # fmt: skip
        signed = f"{_part({'alg': 'RS256', 'kid': KEY_ID})}.{_part(claims)}"
        signature = self._key.sign(signed.encode(), PKCS1v15(), SHA256())
        return f"{signed}.{_text(signature)}"

    def key_set(self) -> str:
        """The public key, as a broker takes it (JWKS)."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID,
            "n": _number(numbers.n), "e": _number(numbers.e),
        }  # fmt: skip
        return json.dumps({"keys": [key]})


def _part(content: Mapping[str, object]) -> str:
    return _text(json.dumps(content).encode())


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _text(value.to_bytes((value.bit_length() + 7) // 8, "big"))
