"""What OpenTelemetry's own SDK and exporters send to the bridge, plain and zipped."""

import json
import logging
from pathlib import Path

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, Status, StatusCode

from pairstream.bridge.intake import listening
from tests.bridge.test_bridge import Refusing, await_events, bridge, url_in
from tests.commands.deployment import Deployment, parsed_pairs

SCORE = {"gen_ai.evaluation.name": "freed", "gen_ai.evaluation.score.value": 12.5}
RESOURCE = Resource({"service.name": "cleaner"})


@pytest.fixture
def deployment(embedded_broker: str, prefix: str, tmp_path: Path) -> Deployment:
    return Deployment(embedded_broker, prefix, tmp_path / "data")


def parts(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


class Agent:
    """One that tells of itself by the conventions, as an instrumentation would."""

    def __init__(self, base: str, compression: Compression, *, logs_scores: bool) -> None:
        traces = OTLPSpanExporter(f"{base}/v1/traces", compression=compression)
        logs = OTLPLogExporter(f"{base}/v1/logs", compression=compression)
        self.traces = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
        self.traces.add_span_processor(BatchSpanProcessor(traces))
        self.logs = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
        self.logs.add_log_record_processor(BatchLogRecordProcessor(logs))
        self._logs_scores = logs_scores

    def work(self) -> str:
        """A run of two attempts; returns its id."""
        tracer = self.traces.get_tracer("agent")
        told = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "cleaner"}
        with tracer.start_as_current_span("invoke_agent cleaner", attributes=told) as root:
            told = {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "tiny",
                "gen_ai.input.messages": parts("user", "Free space."),
                "gen_ai.output.messages": parts("assistant", "Empty the cache."),
            }
            with tracer.start_as_current_span("chat tiny", attributes=told):
                pass
            with tracer.start_as_current_span("execute_tool", attributes=tool("free(")) as span:
                span.set_attribute("gen_ai.tool.call.result", "SyntaxError: '('")
                span.set_status(Status(StatusCode.ERROR, "SyntaxError: '('"))
            with tracer.start_as_current_span("execute_tool", attributes=tool("free()")) as span:
                span.set_attribute("gen_ai.tool.call.result", "freed")
                self._score(span)
        self.traces.shutdown()
        self.logs.shutdown()
        return f"{root.get_span_context().trace_id:032x}"

    def _score(self, span: Span) -> None:
        if not self._logs_scores:
            span.add_event("gen_ai.evaluation.result", SCORE)
            return
        logger = self.logs.get_logger("agent")
        logger.emit(LogRecord(body="a line of the agent that is nobody's business"))
        logger.emit(LogRecord(event_name="gen_ai.evaluation.result", attributes=SCORE))


def tool(code: str) -> dict[str, str]:
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "execute_python",
        "gen_ai.tool.call.arguments": json.dumps({"code": code}),
    }


@pytest.mark.parametrize(
    ("compression", "logs_scores"), [(Compression.Gzip, True), (Compression.NoCompression, False)]
)
def test_spans_of_the_sdk_become_a_run(
    deployment: Deployment, compression: Compression, logs_scores: bool
) -> None:
    with bridge(deployment, "--listen", "127.0.0.1:0") as line:
        base = url_in(line).removesuffix("/v1/traces")
        run_id = Agent(base, compression, logs_scores=logs_scores).work()
        events = await_events(deployment, 5)

    assert {event["run_id"] for event in events} == {run_id}
    attempts = [event for event in events if event["type"] == "code.attempted"]
    assert [(each["code"], each["compiled"], each["score"]) for each in attempts] == [
        ("free(", False, 0), ("free()", True, 12.5)
    ]  # fmt: skip
    deployment.settle()
    [pair] = parsed_pairs(deployment)
    assert (pair.rule, pair.chosen_score, pair.agent_id) == ("mixed_code", 12.5, "cleaner")
    inbox = deployment.records(f"{deployment.names.prefix}pairstream.otlp-spans")
    assert all(b"nobody's business" not in (kept.value() or b"") for kept in inbox)


def test_metrics_of_the_sdk_are_refused_with_what_to_set(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A refusal for good: the exporter tries no second time, and says why in the agent's log."""
    with listening("127.0.0.1", 0, Refusing(AssertionError()), 1_000_000) as (host, port):
        exporter = OTLPMetricExporter(f"http://{host}:{port}/v1/metrics")
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
        provider = MeterProvider([reader], shutdown_on_exit=False)
        provider.get_meter("agent").create_counter("steps").add(1)
        with caplog.at_level(logging.ERROR):
            provider.shutdown()

    assert "404" in caplog.text
    assert "OTEL_METRICS_EXPORTER=none" in caplog.text
