"""OTLP's exports in protobuf, of traces and logs, as spans. Pure; needs the extra `otel`."""

from collections.abc import Iterator
from typing import Any

from pairstream.formats.record import Unreadable
from pairstream.formats.spans import NO_PARENT, STATUS_ERROR, Note, Span

NOT_INSTALLED = "OTLP in protobuf needs pip install 'pairstream[otel]'"


def read_protobuf(content: bytes, place: str) -> Iterator[Span]:
    """One ExportTraceServiceRequest.

    Raises: Unreadable, also where the extra `otel` is not installed.
    """
    try:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
    except ModuleNotFoundError as error:
        raise Unreadable(NOT_INSTALLED) from error
    export = _decoded(traces.ExportTraceServiceRequest, content, "trace")
    for of_resource in export.resource_spans:
        resource = _plain_protobuf(of_resource.resource.attributes)
        for scope in of_resource.scope_spans:
            for span in scope.spans:
                yield _protobuf_span(span, resource, place)


def read_protobuf_logs(content: bytes) -> Iterator[Note]:
    """One ExportLogsServiceRequest, which no byte of it tells from one of traces.

    Raises: Unreadable, also where the extra `otel` is not installed.
    """
    try:
        from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
    except ModuleNotFoundError as error:
        raise Unreadable(NOT_INSTALLED) from error
    export = _decoded(logs.ExportLogsServiceRequest, content, "log")
    for of_resource in export.resource_logs:
        for scope in of_resource.scope_logs:
            for log in scope.log_records:
                said = _plain_protobuf(log.attributes)
                yield Note(log.trace_id.hex(), log.span_id.hex(), log.event_name, said)


def _decoded(kind: Any, content: bytes, what: str) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise Unreadable(f"neither OTLP/JSON nor an OTLP {what} export in protobuf") from error


def _protobuf_span(span: Any, resource: dict[str, Any], place: str) -> Span:
    trace_id, span_id = span.trace_id.hex(), span.span_id.hex()
    return Span(
        place=f"{place} span {span_id}",
        trace_id=trace_id,
        span_id=span_id,
        parent_id=None if span.parent_span_id.hex() in NO_PARENT else span.parent_span_id.hex(),
        name=span.name,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_plain_protobuf(span.attributes),
        resource=resource,
        failed=span.status.code == STATUS_ERROR,
        status=span.status.message,
        notes=[
            Note(trace_id, span_id, event.name, _plain_protobuf(event.attributes))
            for event in span.events
        ],
    )


def _plain_protobuf(attributes: Any) -> dict[str, Any]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _plain_protobuf(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)
