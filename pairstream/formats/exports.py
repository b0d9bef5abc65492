"""Trace exports in files: OTLP/JSON, one export a line (the Collector's file exporter) or one in
the whole file, and protobuf, one export in the file. Pure.
"""

import re
from collections.abc import Iterator

from pairstream.formats.otlp_json import read_json
from pairstream.formats.otlp_protobuf import read_protobuf
from pairstream.formats.record import Source
from pairstream.formats.spans import Note, Span

# Not by the first byte alone: protobuf may begin with the bytes of a blank and a brace.
_JSON = re.compile(rb"\s*\{\s*[\"}]")


def read_export(content: bytes, place: str) -> Iterator[Span | Note]:
    """One export of either kind. Raises: Unreadable."""
    return read_json(content, place) if _JSON.match(content) else read_protobuf(content, place)


def exports_of(source: Source) -> Iterator[tuple[str, bytes]]:
    """The exports of a file with their places: one a line, or one in all of it."""
    lines = source.content.splitlines()
    starts = [line.lstrip()[:1] for line in lines if line.strip()]
    if starts and all(start == b"{" for start in starts):
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield f"{source.name}:{number}", line
    elif source.content.strip():
        yield source.name, source.content
