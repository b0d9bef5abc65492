"""OTLP/JSON, of traces and logs, as spans. Pure; unknown fields are passed over."""

import math
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct, field

from pairstream.formats.record import Unreadable
from pairstream.formats.spans import NO_PARENT, STATUS_ERROR, Note, Span
from schemas.events import unquoted
from schemas.json_errors import JSON_ERRORS

Whole = int | str


class _Array(Struct):
    values: list["_Value"] = field(default_factory=list)


class _KeyValues(Struct):
    values: list["_KeyValue"] = field(default_factory=list)


class _Value(Struct, rename="camel"):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: Whole | None = None
    double_value: float | str | None = None
    array_value: _Array | None = None
    kvlist_value: _KeyValues | None = None

    def plain(self) -> Any:
        if self.array_value is not None:
            return [value.plain() for value in self.array_value.values]
        if self.kvlist_value is not None:
            return _plain(self.kvlist_value.values)
        if self.int_value is not None:
            return _whole(self.int_value)
        if self.double_value is not None:
            return _real(self.double_value)
        return self.bool_value if self.bool_value is not None else self.string_value


class _KeyValue(Struct):
    key: str
    value: _Value = field(default_factory=_Value)


class _Event(Struct, rename="camel"):
    name: str = ""
    attributes: list[_KeyValue] = field(default_factory=list)


class _Status(Struct):
    message: str = ""
    code: int = 0


class _Span(Struct, rename="camel"):
    trace_id: str
    span_id: str
    name: str = ""
    parent_span_id: str = ""
    start_time_unix_nano: Whole = 0
    end_time_unix_nano: Whole = 0
    attributes: list[_KeyValue] = field(default_factory=list)
    events: list[_Event] = field(default_factory=list)
    status: _Status = field(default_factory=_Status)


class _Log(Struct, rename="camel"):
    trace_id: str = ""
    span_id: str = ""
    event_name: str = ""
    attributes: list[_KeyValue] = field(default_factory=list)


class _Resource(Struct):
    attributes: list[_KeyValue] = field(default_factory=list)


class _ScopeSpans(Struct):
    spans: list[_Span] = field(default_factory=list)


class _ResourceSpans(Struct, rename="camel"):
    resource: _Resource = field(default_factory=_Resource)
    scope_spans: list[_ScopeSpans] = field(default_factory=list)


class _ScopeLogs(Struct, rename="camel"):
    log_records: list[_Log] = field(default_factory=list)


class _ResourceLogs(Struct, rename="camel"):
    scope_logs: list[_ScopeLogs] = field(default_factory=list)


class _Export(Struct, rename="camel"):
    resource_spans: list[_ResourceSpans] | None = None
    resource_logs: list[_ResourceLogs] | None = None


_decoder = msgspec.json.Decoder(_Export)


def read_json(content: bytes, place: str) -> Iterator[Span | Note]:
    """One export. Raises: Unreadable."""
    try:
        export = _decoder.decode(content)
    except JSON_ERRORS as error:
        raise Unreadable(f"no OTLP/JSON: {unquoted(error)}") from error
    if export.resource_spans is None and export.resource_logs is None:
        raise Unreadable("no OTLP/JSON: neither resourceSpans nor resourceLogs is in it")
    for of_resource in export.resource_spans or []:
        resource = _plain(of_resource.resource.attributes)
        for scope in of_resource.scope_spans:
            for span in scope.spans:
                yield _span(span, resource, place)
    for of_logs in export.resource_logs or []:
        for logs in of_logs.scope_logs:
            for log in logs.log_records:
                trace_id, span_id = log.trace_id.lower(), log.span_id.lower()
                yield Note(trace_id, span_id, log.event_name, _plain(log.attributes))


def _span(span: _Span, resource: dict[str, Any], place: str) -> Span:
    trace_id, span_id = span.trace_id.lower(), span.span_id.lower()
    return Span(
        place=f"{place} span {span_id}",
        trace_id=trace_id,
        span_id=span_id,
        parent_id=None if span.parent_span_id in NO_PARENT else span.parent_span_id.lower(),
        name=span.name,
        start_ns=_ns(span.start_time_unix_nano),
        end_ns=_ns(span.end_time_unix_nano),
        attributes=_plain(span.attributes),
        resource=resource,
        failed=span.status.code == STATUS_ERROR,
        status=span.status.message,
        notes=[
            Note(trace_id, span_id, event.name, _plain(event.attributes)) for event in span.events
        ],
    )


def _plain(attributes: list[_KeyValue]) -> dict[str, Any]:
    try:
        return {attribute.key: attribute.value.plain() for attribute in attributes}
    except RecursionError as error:  # Python may go less deep than the decoder
        raise Unreadable("no OTLP/JSON: its values are nested too deep") from error


def _whole(value: Whole) -> int:
    """64-bit numbers stand as text in JSON."""
    try:
        whole = int(value)
    except ValueError as error:
        raise Unreadable("no OTLP/JSON: a whole number is none") from error
    if not -(2**63) <= whole < 2**64:
        raise Unreadable("no OTLP/JSON: a whole number has more than 64 bits")
    return whole


def _ns(value: Whole) -> int:
    ns = _whole(value)
    if not 0 <= ns < 2**64:
        raise Unreadable("no OTLP/JSON: a time is none")
    return ns


def _real(value: float | str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan
