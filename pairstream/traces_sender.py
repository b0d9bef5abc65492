"""Sends traces by OpenTelemetry's SDK, over OTLP in HTTP; needs the extra `otel`.

Guarantee: work never waits for it. Spans are queued (OTEL_BSP_MAX_QUEUE_SIZE) and sent from a
thread of the SDK; what does not fit is dropped, and so is what an endpoint does not take in time.
"""

import logging
import threading
import uuid
from collections.abc import Sequence
from importlib.metadata import version
from urllib.parse import urlsplit

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from schemas.traces import Attributes, Kind

log = structlog.get_logger()

CLOSE_SECONDS = 3.0

SCHEMA_URL = "https://opentelemetry.io/schemas/1.37.0"

_KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "consumer": SpanKind.CONSUMER,
    "producer": SpanKind.PRODUCER,
    "client": SpanKind.CLIENT,
}

# They tell of each try, and of each span that found no room; we say it once.
_TALKATIVE = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
)
_READS_HEADERS = "opentelemetry.util.re"


class Sender:
    """Begins traces in any thread."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(
            "pairstream", version("pairstream"), schema_url=SCHEMA_URL
        )

    def begin(
        self, name: str, begun_ns: int, attributes: Attributes, *, kind: Kind = "internal"
    ) -> "SentTrace | None":
        span = self._tracer.start_span(
            name, Context(), _KINDS[kind], attributes, start_time=begun_ns
        )
        return SentTrace(self._tracer, span) if span.is_recording() else None

    def close(self) -> None:
        """Send what waits; an endpoint that is away gets no more than `CLOSE_SECONDS`."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


class SentTrace:
    """A trace that is sampled: its root span and, once they are done, the parts under it."""

    __slots__ = ("_context", "_span", "_tracer")

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._context = set_span_in_context(span, Context())

    def part(
        self,
        name: str,
        begun_ns: int,
        ended_ns: int,
        attributes: Attributes,
        *,
        kind: Kind = "internal",
    ) -> None:
        span = self._tracer.start_span(
            name, self._context, _KINDS[kind], attributes, start_time=begun_ns
        )
        span.end(ended_ns)

    def end(self, ended_ns: int, attributes: Attributes, *, error: str | None = None) -> None:
        self._span.set_attributes(attributes)
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(ended_ns)


class WatchedExporter(SpanExporter):
    """Says once that spans do not arrive, and once that they do again."""

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._arrives = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception:  # noqa: BLE001 - of whatever library it sends by
            result = SpanExportResult.FAILURE
        arrives = result is SpanExportResult.SUCCESS
        if self._arrives and not arrives:
            log.warning(
                "traces_not_sent",
                endpoint=self._endpoint,
                why="it does not take them in; they are dropped, and the work goes on",
            )
        elif arrives and not self._arrives:
            log.info("traces_sent_again", endpoint=self._endpoint)
        self._arrives = arrives
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def open_sender(service: str, url: str) -> Sender:
    """All else is by OpenTelemetry's variables. Raises: ValueError for one that is no number."""
    _quieten()
    endpoint = _shown(url)
    exporter = WatchedExporter(OTLPSpanExporter(url), endpoint)
    provider = TracerProvider(resource=_resource(service), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    log.info("traces_on", endpoint=endpoint)
    return Sender(provider)


def _resource(service: str) -> Resource:
    """What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say stands."""
    found = dict(Resource.create().attributes)
    if str(found.get("service.name", "")).startswith("unknown_service"):
        found["service.name"] = service
    instance = {
        "service.version": version("pairstream"),
        "service.instance.id": str(uuid.uuid4()),
    }
    return Resource({**instance, **found})


def _shown(url: str) -> str:
    """Without a password or a token that may stand in it."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _quieten() -> None:
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger(_READS_HEADERS).addFilter(_without_headers)


def _without_headers(record: logging.LogRecord) -> bool:
    """It would quote a malformed OTEL_EXPORTER_OTLP_HEADERS, in which a token stands."""
    record.msg, record.args = "OTEL_EXPORTER_OTLP_HEADERS is malformed, and not all of it used", ()
    return True
