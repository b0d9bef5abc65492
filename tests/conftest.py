"""Fixtures of all tests: brokers, engines, a small model, and the command line as users run it."""

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
import structlog
from hypothesis import settings

from pairstream.tiny_model import make_tiny_model
from streams.broker import EmbeddedBroker
from tests.apache_kafka import ApacheKafka

RECORDED_RUNS = Path(__file__).parents[2] / "shared" / "data" / "humaneval.events.jsonl"

COMMAND_SECONDS = 120.0

# A busy machine is no defect.
settings.register_profile("unhurried", settings.default, deadline=None)
settings.load_profile("unhurried")

Pairstream = Callable[..., subprocess.CompletedProcess[str]]


def missing(what: str) -> NoReturn:
    """Skip with a line that says what to install; in CI nothing may be skipped."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what, allow_module_level=True)


def is_ipv6_here() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not is_ipv6_here(), reason="this machine has no ::1")

BROKERS = {"embedded_broker", "apache_kafka"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses a broker's fixture bears its mark, so that `make test-quick` passes it over."""
    for item in items:
        if isinstance(item, pytest.Function) and not BROKERS.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.broker)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("PAIRSTREAM_", "OTEL_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logs_of_this_test_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command that runs in this process sets up logs, which those after it would keep."""
    given: list[dict[str, Any]] = []
    configure = structlog.configure

    def uncached(**settings: Any) -> None:
        given.append(settings)
        configure(**{**settings, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", uncached)
    yield
    if given:
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[str]:
    """Bootstrap servers of an embedded broker; tests keep apart by `prefix`."""
    with EmbeddedBroker() as broker:
        yield broker.bootstrap_servers


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """One node of Apache Kafka; tests keep apart by `prefix`."""
    home = os.environ.get("KAFKA_HOME")
    if not home:
        missing("needs Apache Kafka 4 and Java 17: set KAFKA_HOME to Kafka's folder")
    with ApacheKafka(Path(home), tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka


@pytest.fixture
def prefix() -> str:
    """A topic prefix of this test alone."""
    return f"t{uuid.uuid4().hex[:10]}."


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[object]:
    """A client of the Docker SDK for an engine that answers."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except DockerException:
        missing("needs a Docker Engine that answers: install Docker and start it")
    yield client
    client.close()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, in 4 bits trainable within seconds."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def recorded_runs() -> Path:
    """Events of 164 recorded runs, where they lie beside the checkout."""
    if not RECORDED_RUNS.is_file():
        missing(f"needs recorded runs: {RECORDED_RUNS.name} is not there")
    return RECORDED_RUNS


@pytest.fixture
def pairstream(tmp_path: Path) -> Pairstream:
    """Run `pairstream ARGS...` to its end in an empty folder: `pairstream("ingest", file, env={})`.

    `env` adds variables, `check=False` lets it fail, `timeout` is in seconds.
    """

    def run(
        *args: object,
        env: dict[str, str] | None = None,
        check: bool = True,
        timeout: float = COMMAND_SECONDS,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "pairstream", *map(str, args)],
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"pairstream {args} exited {done.returncode}: {done.stderr[-3000:]}")
        return done

    return run
