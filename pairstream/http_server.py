"""The port of a long-lived process: /livez, /readyz and /metrics, for whoever supervises it.

It gives counts and no text of agents, changes nothing, and is on loopback unless told otherwise.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

import structlog
from prometheus_client.exposition import choose_encoder

from pairstream.addresses import HttpServer, authority
from schemas.errors import PairstreamError
from schemas.metrics import Vitals

log = structlog.get_logger()

# A client that says or takes nothing for so long is let go.
SILENCE_SECONDS = 10.0

TEXT = "text/plain; charset=utf-8"

# Status, type and body.
Answer = tuple[int, str, bytes]


@contextmanager
def serving(vitals: Vitals, *, host: str, port: int | None) -> Iterator[int | None]:
    """Serve within the block, from threads of its own; gives the port. None: serve nothing.

    Raises: PairstreamError when the port cannot be had.
    """
    if port is None:
        yield None
        return
    try:
        server = _Server(host, port, handler_of(vitals))
    except (OSError, OverflowError) as error:
        raise PairstreamError(
            f"{authority(host, port)} cannot be served ({error}): is it another process's? set "
            "another PAIRSTREAM_HTTP_PORT, or none"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="http", daemon=True)
    thread.start()
    log.info("http_serving", host=host, port=server.server_port)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(HttpServer):
    # Threads of slow clients must not hold up the end of the process.
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no event."""
        log.debug("http_request_failed", client=str(client_address), exc_info=True)


def handler_of(vitals: Vitals) -> type[BaseHTTPRequestHandler]:
    """A class that answers of these vitals."""

    def metrics(accept: str) -> Answer:
        encode, content_type = choose_encoder(accept)
        return 200, content_type, encode(vitals.registry)

    class Handler(_Handler):
        answers: ClassVar[dict[str, Callable[[str], Answer]]] = {
            "/livez": lambda _: _verdict(vitals.not_live()),
            "/readyz": lambda _: _verdict(vitals.not_ready()),
            "/metrics": metrics,
        }

    return Handler


def _verdict(complaint: str | None) -> Answer:
    return (503, TEXT, f"{complaint}\n".encode()) if complaint else (200, TEXT, b"ok\n")


class _Handler(BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, Callable[[str], Answer]]] = {}
    timeout = SILENCE_SECONDS
    server_version = "pairstream"
    sys_version = ""

    def do_GET(self) -> None:
        answer = self.answers.get(self.path.partition("?")[0])
        if answer is None:
            status, content_type, body = 404, TEXT, b"here are /livez, /readyz and /metrics\n"
        else:
            status, content_type, body = answer(self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name is http.server's

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a probe every few seconds is no event."""
