"""The service's image: worker and trainer run from it, and compose.yaml is what Compose takes."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from docker import DockerClient
from docker.models.containers import Container

from schemas.settings import ENVIRONMENT_PREFIX, known_settings
from schemas.topics import RUN_OUTCOMES
from tests.apache_kafka import ApacheKafka
from tests.conftest import missing
from tests.kafka.services import Deployment
from tests.trainer.made_pairs import run_events

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose.yaml"
TAG = "pairstream:test"
RUNS = 12
WAIT_SECONDS = 90.0


@pytest.fixture(scope="module")
def service_image(docker_engine: DockerClient) -> Iterator[str]:
    docker_engine.images.build(
        path=str(ROOT), dockerfile="docker/app/Dockerfile", tag=TAG, network_mode="host", rm=True
    )
    yield TAG
    docker_engine.images.remove(TAG, force=True)


@contextmanager
def container(
    engine: DockerClient, deployment: Deployment, *command: str, data: Path, **settings: str
) -> Iterator[Container]:
    """A container as compose.yaml runs it, but on the host's network."""
    started = engine.containers.run(
        TAG, list(command), detach=True, network_mode="host", read_only=True, tmpfs={"/tmp": ""},
        cap_drop=["ALL"], security_opt=["no-new-privileges"],
        environment={
            **deployment.environment, **settings, "PAIRSTREAM_DATA_DIR": str(data)
        },
        volumes={str(data): {"bind": str(data), "mode": "rw"}},
    )  # fmt: skip
    try:
        yield started
    finally:
        started.remove(force=True)


def await_true(holds: Callable[[], bool], what: Container) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        what.reload()
        assert what.status in ("created", "running"), what.logs().decode()
        assert time.monotonic() < deadline, what.logs().decode()
        time.sleep(0.1)


@pytest.mark.docker
@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_topics_worker_and_trainer_run_from_the_image(
    docker_engine: DockerClient, service_image: str, apache_kafka: ApacheKafka, prefix: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    deployment = Deployment(apache_kafka.bootstrap_servers, prefix, tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o777)
    with container(docker_engine, deployment, "topics", "apply", data=data) as topics:
        assert topics.wait()["StatusCode"] == 0, topics.logs().decode()
    deployment.send(
        [
            (f"r-{number}".encode(), orjson.dumps(event))
            for number in range(RUNS)
            for event in run_events(f"r-{number}", mixed=True)
        ]
    )
    with container(docker_engine, deployment, "worker", data=data) as worker:
        await_true(lambda: len(deployment.rows(RUN_OUTCOMES)) == RUNS, worker)
        worker.stop(timeout=60)
        assert worker.wait()["StatusCode"] == 0, worker.logs().decode()
    with container(
        docker_engine, deployment, "trainer", "--once", "--launcher", "none", data=data,
        PAIRSTREAM_TRIGGER_PAIRS=str(RUNS),
    ) as trainer:  # fmt: skip
        assert trainer.wait()["StatusCode"] == 0, trainer.logs().decode()
    manifest = orjson.loads((data / "datasets" / "ds-000001" / "manifest.json").read_bytes())
    assert manifest["pairs"] == RUNS


def compose(*arguments: str) -> str:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        command = ["docker", "compose"]
    elif shutil.which("docker-compose"):
        command = ["docker-compose"]
    else:
        missing("needs Docker Compose: install the Compose plugin, or docker-compose")
    done = subprocess.run(
        [*command, "--file", str(COMPOSE), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.docker
def test_compose_takes_the_file_with_and_without_the_gpu_profile() -> None:
    services = yaml.safe_load(compose("config"))["services"]
    assert {"kafka", "topics", "worker", "trainer"} <= services.keys()
    assert services["kafka"]["image"] == "apache/kafka:4.3.1"
    assert _devices(yaml.safe_load(compose("--profile", "gpu", "config")))


def _devices(config: dict[str, Any]) -> list[str]:
    return [
        name
        for name, service in config["services"].items()
        if service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices")
    ]


def test_compose_sets_only_settings_that_there_are() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    given = {
        name
        for service in services.values()
        for name in service.get("environment", {})
        if name.startswith(ENVIRONMENT_PREFIX)
    }

    assert given
    assert {name.removeprefix(ENVIRONMENT_PREFIX).lower() for name in given} <= known_settings()
