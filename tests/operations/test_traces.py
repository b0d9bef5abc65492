"""Traces of worker and trainer, as a receiver of OTLP gets them; and that work never waits."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from pairstream.cluster import Cluster, apply_topics
from pairstream.traces import tracing, unsuited, wanted_url
from schemas.rows import encode
from schemas.topics import GARBLE_REQUESTS, PAIRS, RUN_EVENTS
from schemas.traces import Begin
from tests.commands.deployment import first_time_run, mixed_run
from tests.kafka.services import TAKEN_OVER, Deployment, records
from tests.operations.otlp_receiver import Received, Receiver, receiving
from tests.trainer.made_pairs import make_pairs

TOKEN = "top-secret-token"
CONSUMER, PRODUCER, CLIENT = 5, 4, 3
ERROR = 2

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def deployment(embedded_broker: str, prefix: str, tmp_path: Path) -> Deployment:
    made = Deployment(embedded_broker, prefix, tmp_path, partitions=2)
    list(apply_topics(Cluster(made.settings), made.settings))
    return made


# --- The worker ----------------------------------------------------------------------------------


def test_each_batch_of_a_worker_is_a_trace_up_to_its_commit(
    deployment: Deployment, receiver: Receiver
) -> None:
    deployment.environment |= {
        ENDPOINT: receiver.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{TOKEN}",
    }
    events = [*mixed_run("run-of-mixed"), *first_time_run("run-of-first")]
    deployment.send([*records(events), (b"r-2", b"{no event")])
    with deployment.running("worker") as worker:
        worker.wait_until(lambda: len(deployment.rows(PAIRS)) == 3, "the pairs")
        worker.wait_until(lambda: deployment.lag() == 0, "the commits")
        assert worker.stop() == 0
    said = worker.log

    topic, requests = (deployment.names.topic(each) for each in (RUN_EVENTS, GARBLE_REQUESTS))
    settled = [trace for trace in receiver.traces() if trace[0].name == f"process {topic}"]
    garbled = [trace for trace in receiver.traces() if trace[0].name == f"process {requests}"]
    assert len(settled) + len(garbled) == len(receiver.traces())
    assert total(settled, "messaging.batch.message_count") == len(events) + 1
    assert total(garbled, "messaging.batch.message_count") == 2
    for root, parts in settled:
        names = [part.name for part in parts if part.name != "send rows"]
        assert names == ["fold", f"send {deployment.names.state_changelog}", f"commit {topic}"]
        check_batch(root, parts, topic, deployment)
    for root, parts in garbled:
        assert [part.name for part in parts] == ["garble", "send rows", f"commit {requests}"]
        check_batch(root, parts, requests, deployment)
    folds = [part for _, parts in settled for part in parts if part.name == "fold"]
    assert sum(int(fold.attributes.get("pairstream.runs_settled", 0)) for fold in folds) == 2
    assert sum(int(fold.attributes.get("pairstream.dead_letters", 0)) for fold in folds) == 1

    assert {headers["authorization"] for headers in receiver.headers} == {f"Bearer {TOKEN}"}
    for text in ("run-of", "Free space", "Empty the cache", "free(", TOKEN):
        assert all(text.encode() not in body for body in receiver.bodies), text
    assert TOKEN not in said
    assert said.count("traces_on") == 1
    assert "traces_not_sent" not in said


def total(traces: list[tuple[Received, list[Received]]], name: str) -> int:
    return sum(int(root.attributes[name]) for root, _ in traces)


def check_batch(root: Received, parts: list[Received], topic: str, of: Deployment) -> None:
    place = {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": root.attributes["messaging.destination.partition.id"],
        "messaging.consumer.group.name": of.names.worker_app,
    }
    assert root.attributes.items() >= place.items()
    assert root.attributes["messaging.operation.type"] == "process"
    assert root.span.kind == CONSUMER
    assert root.resource["service.name"] == "pairstream-worker"
    assert root.resource["service.instance.id"]
    commit = parts[-1]
    assert commit.span.kind == CLIENT
    assert commit.attributes.items() >= place.items()
    assert commit.attributes["messaging.operation.type"] == "settle"
    last = int(root.attributes["pairstream.offset.last"])
    assert last < int(commit.attributes["messaging.kafka.offset"])
    assert int(root.attributes["pairstream.offset.first"]) <= last
    for part in parts:
        if part.name.startswith("send"):
            assert part.span.kind == PRODUCER
            assert part.attributes["messaging.operation.type"] == "send"
            assert int(part.attributes["messaging.batch.message_count"]) > 0
        assert part.span.trace_id == root.span.trace_id
        assert root.span.start_time_unix_nano <= part.span.start_time_unix_nano
        assert part.span.end_time_unix_nano <= root.span.end_time_unix_nano


def test_a_receiver_that_hangs_holds_up_neither_the_work_nor_the_end(
    deployment: Deployment,
) -> None:
    """It takes connections and answers none, which is worse than to be away."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as hanging:
        deployment.environment |= {
            ENDPOINT: f"http://127.0.0.1:{hanging.getsockname()[1]}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        with deployment.running("worker") as worker:
            worker.await_log(TAKEN_OVER)
            for number in range(3):
                deployment.send(records(mixed_run(f"r-{number}")))
                worker.wait_until(lambda: deployment.lag() == 0, "the commits")
            worker.await_log("traces_not_sent")
            assert worker.stop() == 0  # it is ended with 1 where that takes long

    assert len(deployment.rows(PAIRS)) == 3
    assert worker.log.count("traces_not_sent") == 1
    assert "Traceback" not in worker.log


# --- The trainer ---------------------------------------------------------------------------------


def test_a_trainer_traces_what_it_takes_in_and_cuts(
    deployment: Deployment, receiver: Receiver
) -> None:
    deployment.environment |= {
        ENDPOINT: f"{receiver.url}/",
        "OTEL_SERVICE_NAME": "my-trainer",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
    }
    made = make_pairs(3)
    values = [*map(encode, made), encode(made[0]), b"no pair"]
    deployment.send([(b"r", value) for value in values], PAIRS)
    with deployment.running(
        "trainer", "--once", trigger_pairs="3", launcher="none", eval_fraction="0"
    ) as trainer:
        assert trainer.await_end() == 0

    taken, cut = (root for root, _ in receiver.traces())
    assert taken.name == f"process {pairs_of(deployment)}"
    assert taken.attributes["messaging.batch.message_count"] == len(values)
    assert taken.attributes["pairstream.pairs"] == len(made)
    assert [part.name for part in receiver.traces()[0][1]] == ["close segments"]
    assert cut.name == "cut"
    assert cut.attributes == {
        "pairstream.dataset": "ds-000001",
        "pairstream.pairs": len(made),
        "pairstream.runs": len({pair.run_id for pair in made}),
        "pairstream.pairs_skipped": 0,
    }
    assert taken.resource["service.name"] == "my-trainer"
    assert taken.resource["deployment.environment.name"] == "test"


def pairs_of(deployment: Deployment) -> str:
    return deployment.names.topic(PAIRS)


# --- Whether and how -----------------------------------------------------------------------------

LOADED = """
import sys
from pairstream.__main__ import main
try:
    main()
finally:
    print("loaded", [name for name in sys.modules if name.startswith("opentelemetry")], flush=True)
"""


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["worker"], {}),
        (
            ["trainer", "--launcher", "none"],
            {ENDPOINT: "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        ),
    ],
)
def test_nothing_of_the_sdk_is_loaded_where_traces_are_off(
    deployment: Deployment, command: list[str], extra: dict[str, str]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LOADED, *command],
        env={**os.environ, **deployment.environment, **extra},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        started = {"worker": TAKEN_OVER, "trainer": "trainer_started"}[command[0]]
        assert any(started in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert out.splitlines()[-1] == "loaded []"


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, None),
        ({ENDPOINT: ""}, None),
        ({ENDPOINT: "http://c:4318"}, "http://c:4318/v1/traces"),
        ({ENDPOINT: "http://c:4318/otlp/"}, "http://c:4318/otlp/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:1/x", ENDPOINT: "http://d"}, "http://c:1/x"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "", ENDPOINT: "http://d"}, "http://d/v1/traces"),
        ({ENDPOINT: "http://c", "OTEL_SDK_DISABLED": "True"}, None),
        ({ENDPOINT: "http://c", "OTEL_SDK_DISABLED": "false"}, "http://c/v1/traces"),
        ({ENDPOINT: "http://c", "OTEL_TRACES_EXPORTER": "none"}, None),
        ({ENDPOINT: "http://c", "OTEL_TRACES_EXPORTER": "console, otlp"}, "http://c/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c"}, None),
    ],
)  # fmt: skip
def test_an_endpoint_switches_traces_on(environ: dict[str, str], url: str | None) -> None:
    assert wanted_url(environ) == url


@pytest.mark.parametrize(("sampler", "is_sampled"), [("always_off", False), ("always_on", True)])
def test_sampling_is_by_the_variables_of_the_sdk(
    sampler: str, is_sampled: bool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINT, receiver.url)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    with tracing("worker") as begin:
        assert begin is not None
        trace = begin("fold", 1, {})
        assert (trace is not None) == is_sampled
        if trace is not None:
            trace.part("part", 1, 2, {})
            trace.end(2, {})

    assert len(receiver.spans()) == 2 * is_sampled


def test_another_protocol_is_said_with_what_to_set() -> None:
    grpc = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert "set http/protobuf" in str(unsuited(grpc))
    assert unsuited({**grpc, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}) is None
    assert unsuited({}) is None


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL is grpc"),
        ({"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "9000"}, "OTEL_*"),
        ({ENDPOINT: "http://127.0.0.1:port"}, "OTEL_*"),
    ],
)
def test_variables_that_cannot_be_are_said_and_end_nothing(
    environ: dict[str, str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {ENDPOINT: "http://127.0.0.1:1", **environ}.items():
        monkeypatch.setenv(name, value)

    with capture_logs() as said, tracing("worker") as begin:
        assert begin is None
    [line] = said
    assert line["event"] == "traces_off"
    assert why in line["why"]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "pairstream.traces_sender", None)

    with capture_logs() as said, tracing("worker") as begin:
        assert begin is None
    assert [line["why"] for line in said] == [
        "OpenTelemetry's SDK is not installed: pip install 'pairstream[otel]'"
    ]


def test_what_goes_wrong_while_sending_is_said_once_and_its_end_too(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT, receiver.url.replace("//", f"//user:{TOKEN}@"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"no header {TOKEN}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    host = receiver.url.removeprefix("http://")

    with capture_logs() as said, caplog.at_level(logging.DEBUG), tracing("trainer") as begin:
        assert begin is not None
        receiver.status = 400
        for number in range(3):
            tell_one(begin)
            await_bodies(receiver, number + 1)
        receiver.status = 200
        tell_one(begin)
        await_bodies(receiver, 4)

    lines = [(line["event"], line["endpoint"]) for line in said]
    assert lines == [(e, host) for e in ("traces_on", "traces_not_sent", "traces_sent_again")]
    # With its DEBUG on, what logs under it has other things to tell; nothing of OpenTelemetry does.
    told = [record for record in caplog.records if record.name.startswith("opentelemetry")]
    assert TOKEN not in "".join(record.getMessage() for record in told)


def tell_one(begin: Begin) -> None:
    trace = begin("cut", 1, {})
    assert trace is not None
    trace.end(2, {}, error="made_up")


def await_bodies(receiver: Receiver, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(receiver.bodies) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_waits_is_sent_at_the_end_with_its_error(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINT, receiver.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    with tracing("trainer") as begin:
        assert begin is not None
        tell_one(begin)

    [received] = receiver.spans()
    assert received.attributes == {"error.type": "made_up"}
    assert received.span.status.code == ERROR
    times: Any = received.span
    assert (times.start_time_unix_nano, times.end_time_unix_nano) == (1, 2)
