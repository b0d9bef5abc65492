"""What an OTLP/HTTP request says, and what it is answered. Pure.

Source: the OpenTelemetry Protocol specification, section OTLP/HTTP.
"""

import re
import zlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from pairstream.bridge.scores import score_export
from pairstream.formats.otlp_json import read_json
from pairstream.formats.otlp_protobuf import read_protobuf, read_protobuf_logs
from pairstream.formats.record import Unreadable

TRACES, LOGS, METRICS = "/v1/traces", "/v1/logs", "/v1/metrics"
JSON, PROTOBUF = "application/json", "application/x-protobuf"
EMPTY_ANSWERS = {JSON: b"{}", PROTOBUF: b""}
RETRY_AFTER_SECONDS = 5

LINE_BYTES = 1024

_GZIP = 16 + zlib.MAX_WBITS
_HEXADECIMAL = re.compile(rb"[0-9a-fA-F]{1,15}")


class Headers(Protocol):
    """Of a request; names are found in any case where they come from a server."""

    def get(self, name: str, default: str, /) -> str: ...


class Stream(Protocol):
    """The body as it comes."""

    def read(self, size: int, /) -> bytes: ...

    def readline(self, size: int, /) -> bytes: ...


class Answer(NamedTuple):
    """`reason`: instead of the status's own words, for exporters that log these and no body."""

    status: int
    content_type: str
    body: bytes
    retry_after: int | None = None
    reason: str | None = None


class Refused(Exception):
    """The request cannot be taken in; sending it again would not help."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def check_path(path: str) -> None:
    """Raises: Refused."""
    if path == METRICS:
        raise Refused(
            404,
            f"no metrics are taken in here: set OTEL_METRICS_EXPORTER=none in the agent, or name "
            f"this place in OTEL_EXPORTER_OTLP_TRACES_ENDPOINT (http://HOST:PORT{TRACES}) alone",
        )
    if path not in (TRACES, LOGS):
        raise Refused(404, f"only {TRACES} and {LOGS} are here")


def content_type_of(headers: Headers) -> str:
    """Raises: Refused."""
    given = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if given not in EMPTY_ANSWERS:
        raise Refused(415, f"Content-Type must be {PROTOBUF} or {JSON}")
    return given


def body_of(headers: Headers, stream: Stream, most: int) -> bytes:
    """As it came, in one piece or in chunks. Raises: Refused."""
    if headers.get("Transfer-Encoding", "").strip().lower() == "chunked":
        return b"".join(_chunks(stream, most))
    return stream.read(length_of(headers, most))


def _chunks(stream: Stream, most: int) -> Iterator[bytes]:
    """Source: RFC 9112, section 7.1; trailers are read and passed over."""
    left = most
    while True:
        size_text = stream.readline(LINE_BYTES).partition(b";")[0].strip()
        if not _HEXADECIMAL.fullmatch(size_text):
            raise Refused(400, "a chunk of the body has no size")
        size = int(size_text, 16)
        left -= size
        if left < 0:
            raise Refused(413, f"a request may have {most} bytes")
        if size == 0:
            break
        yield stream.read(size)
        stream.readline(LINE_BYTES)
    while stream.readline(LINE_BYTES).strip():
        pass


def length_of(headers: Headers, most: int) -> int:
    """Raises: Refused."""
    given = headers.get("Content-Length", "")
    if not given.isascii() or not given.isdecimal():
        raise Refused(411, "Content-Length is missing")
    if len(given) > 18 or int(given) > most:
        raise Refused(413, f"a request may have {most} bytes")
    return int(given)


def export_in(body: bytes, headers: Headers, content_type: str, most: int) -> bytes:
    """The export as it was sent, uncompressed; it can be read. Raises: Refused."""
    body = _plain(body, headers, most)
    read = read_json if content_type == JSON else read_protobuf
    try:
        for _ in read(body, "request"):
            pass
    except Unreadable as error:
        raise Refused(400, str(error)) from error
    return body


def scores_in(body: bytes, headers: Headers, content_type: str, most: int) -> bytes | None:
    """Of an export of logs, the scores alone, as an export; None where it has none.

    Raises: Refused.
    """
    body = _plain(body, headers, most)
    items = read_json(body, "request") if content_type == JSON else read_protobuf_logs(body)
    try:
        return score_export(items)
    except Unreadable as error:
        raise Refused(400, str(error)) from error


def _plain(body: bytes, headers: Headers, most: int) -> bytes:
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "gzip":
        body = _unzipped(body, most)
    elif encoding not in ("", "identity"):
        raise Refused(415, "Content-Encoding must be gzip or none")
    return body


def _unzipped(body: bytes, most: int) -> bytes:
    unzip = zlib.decompressobj(_GZIP)
    try:
        text = unzip.decompress(body, most + 1)
    except zlib.error as error:
        raise Refused(400, "the body is not gzip") from error
    if len(text) > most:
        raise Refused(413, f"a request may have {most} bytes, uncompressed")
    if not unzip.eof:
        raise Refused(400, "the body is not all of a gzip file")
    return text


def accepted(content_type: str) -> Answer:
    return Answer(200, content_type, EMPTY_ANSWERS[content_type])


def refused(error: Refused) -> Answer:
    why = str(error)
    reason = why if why.isascii() and why.isprintable() else None  # it stands in a header
    return Answer(error.status, "text/plain; charset=utf-8", f"{why}\n".encode(), reason=reason)


def later(why: str) -> Answer:
    """The sender keeps it and tries again."""
    body = f"not kept: {why}\n".encode()
    return Answer(503, "text/plain; charset=utf-8", body, RETRY_AFTER_SECONDS)
