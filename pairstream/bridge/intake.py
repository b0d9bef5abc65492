"""OTLP over HTTP: a request is answered with 200 only once Kafka has acknowledged its spans."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from typing import Protocol

from pairstream.addresses import HttpServer, authority
from pairstream.bridge.inbox import NotKept
from pairstream.bridge.requests import (
    LOGS,
    Answer,
    Refused,
    accepted,
    body_of,
    check_path,
    content_type_of,
    export_in,
    later,
    refused,
    scores_in,
)
from schemas.errors import PairstreamError

MAX_REQUESTS = 32
READ_SECONDS = 30.0
# For those who are turned away while they are still sending.
LEAVE_SECONDS, LEAVE_BYTES = 2.0, 256 * 1024 * 1024


class Keeper(Protocol):
    def keep(self, export: bytes) -> None:
        """Raises: NotKept."""


class Handler(BaseHTTPRequestHandler):
    """One connection; a subclass says to whom it gives what comes."""

    keeper: Keeper
    places: threading.BoundedSemaphore
    max_bytes: int

    timeout = READ_SECONDS
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "pairstream", ""

    def do_POST(self) -> None:
        if not self.places.acquire(blocking=False):
            self._turn_away(later("too many requests at once"))
            return
        try:
            check_path(self.path)
            kind = content_type_of(self.headers)
            body = body_of(self.headers, self.rfile, self.max_bytes)
        except Refused as error:
            self._turn_away(refused(error))
        else:
            self._answer(self._take_in(body, kind))
        finally:
            self.places.release()

    def _take_in(self, body: bytes, kind: str) -> Answer:
        try:
            read = scores_in if self.path == LOGS else export_in
            export = read(body, self.headers, kind, self.max_bytes)
            if export is not None:
                self.keeper.keep(export)
        except Refused as error:
            return refused(error)
        except NotKept as error:
            if error.for_good:
                return refused(Refused(413, f"Kafka refuses it: {error}"))
            return later(str(error))
        return accepted(kind)

    def _turn_away(self, answer: Answer) -> None:
        """Answer a request whose body was not read to its end, and read on for a while: closed at
        once, its sender would see a broken connection and no answer (RFC 9112, section 9.6).
        """
        self.close_connection = True
        self._answer(answer)
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LEAVE_SECONDS)
            until, left = time.monotonic() + LEAVE_SECONDS, LEAVE_BYTES
            while left > 0 and time.monotonic() < until:
                passed_over = len(self.connection.recv(64 * 1024))
                if not passed_over:
                    break
                left -= passed_over

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status, answer.reason)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        if answer.retry_after is not None:
            self.send_header("Retry-After", str(answer.retry_after))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are counted by who sends them."""


@contextmanager
def listening(host: str, port: int, keeper: Keeper, max_bytes: int) -> Iterator[tuple[str, int]]:
    """Take requests in while the block lasts; gives the address. Raises: PairstreamError."""
    places = threading.BoundedSemaphore(MAX_REQUESTS)
    told = {"keeper": keeper, "places": places, "max_bytes": max_bytes}
    try:
        server = HttpServer(host, port, type("Handler", (Handler,), told))
    except OSError as error:
        raise PairstreamError(
            f"cannot listen on {authority(host, port)}: {error.strerror}; "
            "choose another with --listen"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="otlp-intake", daemon=True)
    thread.start()
    try:
        yield str(server.server_address[0]), server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
