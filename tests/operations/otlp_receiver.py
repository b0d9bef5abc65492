"""A receiver of OTLP over HTTP, which decodes what comes by OpenTelemetry's own messages."""

import gzip
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Received(NamedTuple):
    """A span, with what its attributes and those of its resource say."""

    span: Any
    attributes: dict[str, str | int]
    resource: dict[str, str | int]

    @property
    def name(self) -> str:
        return str(self.span.name)


class Receiver:
    """`status` is what it answers; `bodies` are uncompressed, whatever it answered."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.status = 200
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    def spans(self) -> list[Received]:
        """All, in the order in which they came."""
        return [
            Received(span, _plain(span.attributes), _plain(of_resource.resource.attributes))
            for body in list(self.bodies)
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in of_resource.scope_spans
            for span in scope.spans
        ]

    def traces(self) -> list[tuple[Received, list[Received]]]:
        """Roots that have come, each with its parts by the times of their ends."""
        parts: dict[bytes, list[Received]] = defaultdict(list)
        roots = []
        for each in self.spans():
            if each.span.parent_span_id:
                parts[each.span.parent_span_id].append(each)
            else:
                roots.append(each)
        return [
            (root, sorted(parts[root.span.span_id], key=lambda part: part.span.end_time_unix_nano))
            for root in roots
        ]


def _plain(attributes: Any) -> dict[str, str | int]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            zipped = self.headers.get("Content-Encoding") == "gzip"
            receiver.headers.append({k.lower(): v for k, v in self.headers.items()})
            receiver.bodies.append(gzip.decompress(body) if zipped else body)
            self.send_response(receiver.status if self.path == "/v1/traces" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
