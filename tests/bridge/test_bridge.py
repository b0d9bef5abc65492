"""The bridge as people run it, over HTTP and from topics, on the embedded broker."""

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from pairstream.bridge.inbox import NotKept
from pairstream.bridge.intake import listening
from schemas import clients
from schemas.topics import RUN_EVENTS
from tests.apache_kafka import ApacheKafka
from tests.commands.deployment import Deployment, parsed_pairs
from tests.conftest import Pairstream, needs_ipv6
from tests.formats.reading import RECORDED
from tests.waiting import wait_for

JSON = {"Content-Type": "application/json"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
TRACE = (RECORDED / "openinference" / "openai_agents.jsonl").read_bytes()
SECONDS = 60.0


@pytest.fixture
def deployment(embedded_broker: str, prefix: str, tmp_path: Path) -> Deployment:
    return Deployment(embedded_broker, prefix, tmp_path / "data")


@contextmanager
def bridge(deployment: Deployment, *flags: str) -> Iterator[str]:
    """A bridge in a process of its own; gives what it said first. It must end cleanly."""
    command = [sys.executable, "-m", "pairstream", "bridge", "otlp", "--quiet-seconds", "0.2"]
    with subprocess.Popen(
        [*command, *flags],
        env={**os.environ, **deployment.env, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        watchdog = threading.Timer(SECONDS, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            yield process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 143
        finally:
            process.kill()
            watchdog.cancel()


def post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def url_in(line: str) -> str:
    return line.split()[-1]


def await_events(deployment: Deployment, count: int) -> list[dict[str, object]]:
    def come() -> list[Message] | None:
        found = deployment.records(deployment.names.topic(RUN_EVENTS))
        return found if len(found) >= count else None

    return [json.loads(message.value()) for message in wait_for(come)]


def test_spans_sent_in_pieces_become_a_run_and_its_pair(deployment: Deployment) -> None:
    export = json.loads(TRACE)
    [scope] = export["resourceSpans"][0]["scopeSpans"]
    pieces = [scope["spans"][:3], scope["spans"][2:]]  # one span comes twice

    with bridge(deployment, "--listen", "127.0.0.1:0") as line:
        for spans in reversed(pieces):
            scope["spans"] = spans
            body = gzip.compress(json.dumps(export).encode())
            status, answer, _ = post(url_in(line), body, {**JSON, "Content-Encoding": "gzip"})
            assert (status, answer) == (200, b"{}")
        events = await_events(deployment, 5)

    assert [event["type"] for event in events] == [
        "run.started",
        "strategy.proposed",
        "code.attempted",
        "code.attempted",
        "run.finished",
    ]
    deployment.settle()
    [pair] = parsed_pairs(deployment)
    assert (pair.rule, pair.chosen_score) == ("mixed_code", 12.5)


def test_started_again_it_reads_on_and_the_same_spans_change_nothing(
    deployment: Deployment,
) -> None:
    with bridge(deployment, "--listen", "127.0.0.1:0") as line:
        protobuf = (RECORDED / "openinference" / "openai_agents.pb").read_bytes()
        assert post(url_in(line), protobuf, PROTOBUF)[:2] == (200, b"")
        await_events(deployment, 5)
    with bridge(deployment, "--listen", "127.0.0.1:0") as line:
        assert post(url_in(line), TRACE, JSON)[0] == 200
        events = await_events(deployment, 10)

    assert events[:5] == events[5:]
    deployment.settle()
    assert len(parsed_pairs(deployment)) == 1
    assert deployment.records(deployment.names.dead_letters(RUN_EVENTS)) == []


def test_topic_of_the_collector_is_read_in_both_encodings(deployment: Deployment) -> None:
    topic = f"{deployment.names.prefix}otlp_spans"
    deployment.create(topic, 2)
    smolagents = (RECORDED / "openinference" / "smolagents.jsonl").read_bytes()
    for value in (smolagents, (RECORDED / "otlp" / "pydantic_ai.pb").read_bytes(), b"\x00nonsense"):
        deployment.send(topic, None, value)

    with bridge(deployment, "--from-topic", topic) as line:
        assert line == f"reads {topic}\n"
        events = await_events(deployment, 10)

    assert len({event["run_id"] for event in events}) == 2


def test_trace_that_cannot_be_mapped_ends_nothing(deployment: Deployment) -> None:
    hostile = json.loads(TRACE)
    for span in hostile["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        span["traceId"] = "f" * 32
        span["attributes"].append({"key": "evaluations." + "a." * 600, "value": {"intValue": "1"}})

    with bridge(deployment, "--listen", "127.0.0.1:0") as line:
        for export in (json.dumps(hostile).encode(), TRACE):
            assert post(url_in(line), export, JSON)[0] == 200
        events = await_events(deployment, 5)

    assert "f" * 32 not in {event["run_id"] for event in events}


def test_restart_maps_no_trace_from_a_part_of_its_spans(deployment: Deployment) -> None:
    check_restart(deployment)


@pytest.mark.kafka
def test_restart_on_apache_kafka_maps_no_trace_from_a_part_of_its_spans(
    apache_kafka: ApacheKafka, prefix: str, tmp_path: Path
) -> None:
    check_restart(Deployment(apache_kafka.bootstrap_servers, prefix, tmp_path / "data"))


def check_restart(deployment: Deployment) -> None:
    """A trace that is not whole holds the position back, behind which stand parts of others."""
    topic = f"{deployment.names.prefix}otlp_spans"
    deployment.create(topic, 1)
    first, last = halves(TRACE)
    rootless, _ = halves((RECORDED / "otlp" / "pydantic_ai.jsonl").read_bytes())
    for value in (first, rootless, last):
        deployment.send(topic, None, value)

    with bridge(deployment, "--from-topic", topic):
        await_events(deployment, 5)
        await_position(deployment, topic, 1)
    deployment.send(topic, None, (RECORDED / "openinference" / "smolagents.jsonl").read_bytes())
    with bridge(deployment, "--from-topic", topic):
        events = await_events(deployment, 10)

    runs = [event["run_id"] for event in events]
    assert [runs.count(run_id) for run_id in dict.fromkeys(runs)] == [5, 5]


def halves(export: bytes) -> tuple[bytes, bytes]:
    """Two exports with the spans of one; the root stands in the second."""
    document = json.loads(export)
    [scope] = document["resourceSpans"][0]["scopeSpans"]
    spans = sorted(scope["spans"], key=lambda span: "parentSpanId" not in span)
    made = []
    for part in (spans[:3], spans[3:]):
        scope["spans"] = part
        made.append(json.dumps(document).encode())
    return made[0], made[1]


def await_position(deployment: Deployment, topic: str, offset: int) -> None:
    """What is committed is what a bridge reads on from."""
    consumer = Consumer(clients.reader(deployment.settings, group=deployment.names.bridge_group))

    def position() -> int:
        [found] = consumer.committed([TopicPartition(topic, 0)], timeout=10)
        return int(found.offset)

    wait_for(lambda: position() == offset, told=lambda: f"the position is {position()}")
    consumer.close()


class Refusing:
    """Brokers that take nothing in."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def keep(self, export: bytes) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [(NotKept("no broker answers"), 503, "5"), (NotKept("too large", for_good=True), 413, None)],
)
def test_what_kafka_has_not_acknowledged_is_not_answered_with_200(
    error: NotKept, status: int, retry: str | None
) -> None:
    with listening("127.0.0.1", 0, Refusing(error), 1_000_000) as (host, port):
        found, _, headers = post(f"http://{host}:{port}/v1/traces", TRACE, JSON)

    assert (found, headers.get("Retry-After")) == (status, retry)


@needs_ipv6
def test_it_listens_on_addresses_of_ipv6_too(deployment: Deployment) -> None:
    with bridge(deployment, "--listen", "[::1]:0") as line:
        assert "http://[::1]:" in line
        assert post(url_in(line), TRACE, JSON)[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/metrics", TRACE, JSON, 404),
        ("/", TRACE, JSON, 404),
        ("/v1/logs", b"nope", JSON, 400),
        ("/v1/logs", b"\xff\xff", PROTOBUF, 400),
        ("/v1/traces", TRACE, {"Content-Type": "text/plain"}, 415),
        ("/v1/traces", b"x" * 1_000_001, JSON, 413),
        # More than lies between the two: it is answered while it is being sent.
        ("/v1/traces", b"x" * 50_000_000, JSON, 413),
        ("/v1/traces", b"nope", JSON, 400),
    ],
)
def test_requests_that_cannot_be_taken_in_are_told_so(
    path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    with listening("127.0.0.1", 0, Refusing(NotKept("not asked")), 1_000_000) as (host, port):
        found, why, _ = post(f"http://{host}:{port}{path}", body, headers)

    assert found == status
    assert why


def test_port_that_is_taken_is_named(deployment: Deployment, pairstream: Pairstream) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = pairstream("bridge", "otlp", "--listen", address, env=deployment.env, check=False)

    assert done.returncode == 1
    assert f"cannot listen on {address}: Address already in use" in done.stderr
