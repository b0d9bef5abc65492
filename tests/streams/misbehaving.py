"""A local HTTP server that answers as an OpenAI-compatible endpoint, or misbehaves on purpose."""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]

# Answers a request in its own thread; `Desk.closing` tells it when the test is over.
Behaviour = Callable[["Handler", Json], None]


class Handler(BaseHTTPRequestHandler):
    """One request; a behaviour answers it by these words."""

    protocol_version = "HTTP/1.1"
    server: "Desk"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        behave = self.server.arrived(self.path, dict(self.headers), body)
        try:
            behave(self, body)
        except OSError:
            self.close_connection = True  # the client has gone, as it may
        finally:
            self.server.answered()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def send(self, status: int, body: bytes, *, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Desk(ThreadingHTTPServer):
    """Behaves as the next of its `behaviours` says; the last stands for all that follow.

    Attributes:
        requests: path, headers and body of each, in the order of arrival.
        most_at_once: how many were being answered at the same time.
    """

    daemon_threads = True

    def __init__(self, behaviours: Sequence[Behaviour]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict[str, str], Json]] = []
        self.most_at_once = 0
        self.closing = threading.Event()
        self._behaviours = list(behaviours)
        self._lock = threading.Lock()
        self._at_once = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def arrived(self, path: str, headers: dict[str, str], body: Json) -> Behaviour:
        with self._lock:
            self.requests.append((path, headers, body))
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            behaviours = self._behaviours
            return behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]

    def answered(self) -> None:
        with self._lock:
            self._at_once -= 1

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks is what these tests are about."""


@contextmanager
def serving(*behaviours: Behaviour) -> Iterator[Desk]:
    desk = Desk(behaviours)
    thread = threading.Thread(target=desk.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield desk
    finally:
        desk.closing.set()
        desk.shutdown()
        thread.join()
        socketserver.TCPServer.server_close(desk)


# --- Behaviours ----------------------------------------------------------------------------------


def completion(text: object, **fields: object) -> bytes:
    choice = {
        "index": 0,
        "finish_reason": "length",
        "message": {"role": "assistant", "content": text},
    }
    return json.dumps(
        {"id": "c-1", "object": "chat.completion", "choices": [choice], **fields}
    ).encode()


def says(text: object, **fields: object) -> Behaviour:
    return lambda handler, _: handler.send(200, completion(text, **fields))


def sends(body: bytes, **headers: str) -> Behaviour:
    return lambda handler, _: handler.send(200, body, **headers)


def fails(status: int, **headers: str) -> Behaviour:
    body = b'{"error": {"message": "s3cret-of-the-endpoint"}}'
    return lambda handler, _: handler.send(status, body, **headers)


def hangs(handler: Handler, _: Json) -> None:
    """Says nothing until the test is over."""
    handler.server.closing.wait()
    handler.close_connection = True


def stops_half_way(handler: Handler, _: Json) -> None:
    whole = completion("a text of which a half is told")
    handler.send(200, whole[: len(whole) // 2], length=len(whole))
    handler.close_connection = True


def drips(handler: Handler, _: Json) -> None:
    """A byte now and then: no single read takes long."""
    handler.send(200, b"", length=10_000)
    while not handler.server.closing.wait(0.05):
        handler.wfile.write(b" ")


def closes(handler: Handler, _: Json) -> None:
    handler.close_connection = True
