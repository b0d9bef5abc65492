"""The service's image: worker and trainer run from it as compose.yaml says."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from docker import DockerClient
from docker.models.containers import Container

from schemas.topics import RUN_OUTCOMES
from tests.apache_kafka import ApacheKafka
from tests.kafka.services import Deployment
from tests.trainer.made_pairs import run_events

ROOT = Path(__file__).parents[2]
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
