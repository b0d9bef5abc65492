"""Plans of trainings in containers, with a stand-in for the script and its image."""

import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker import DockerClient

from schemas.settings import TrainingSettings
from tests.containers.desk import Desk, make_data
from tests.containers.relay import Relay
from tests.containers.small_image import small_context
from tests.trainer.stand_in import make_base_model
from trainer import training, trainings
from trainer.docker_launcher import LABEL_DIRECTORY
from trainer.image import IMAGE_LABEL, BuildContext
from trainer.launcher import Plan

MakePlan = Callable[..., Plan]


@pytest.fixture
def make_plan(docker_engine: DockerClient, tmp_path: Path) -> Iterator[MakePlan]:
    """Make a plan of a training of this test; its containers are removed at the end."""
    directory_id = uuid.uuid4().hex[:8]
    dataset, folder = tmp_path / "dataset", tmp_path / "models" / "t-1"
    for path in (dataset, folder):
        path.mkdir(parents=True)
    base_model = make_base_model(tmp_path / "base")

    def make(*arguments: str, context: BuildContext | None = None, **settings: object) -> Plan:
        return Plan(
            training_id="t-1",
            directory_id=directory_id,
            dataset=dataset,
            base_model=base_model,
            folder=folder,
            arguments=["--starts", "/output/starts", *arguments],
            settings=TrainingSettings(**settings),  # type: ignore[arg-type]
            context=context or small_context(),
        )

    yield make
    for container in docker_engine.containers.list(
        all=True, filters={"label": f"{LABEL_DIRECTORY}={directory_id}"}
    ):
        container.remove(force=True)


@pytest.fixture
def relay() -> Iterator[Relay]:
    with tempfile.TemporaryDirectory() as folder:  # a socket's path has room for few characters
        relay = Relay(Path(folder) / "engine.sock")
        yield relay
        relay.close()


@pytest.fixture
def desk(
    docker_engine: DockerClient, relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    """Its trainer reaches the engine through the relay; its containers are removed at the end."""
    monkeypatch.setenv("DOCKER_HOST", relay.address)
    monkeypatch.setattr(training, "training_context", small_context)
    monkeypatch.setattr(training, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(trainings, "FIRST_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(trainings, "LONGEST_WAIT_SECONDS", 0.1)
    desk = Desk(make_data(tmp_path), docker_engine, relay)
    yield desk
    for container in desk.containers():
        container.remove(force=True)


@pytest.fixture(scope="session", autouse=True)
def _remove_small_images(docker_engine: DockerClient) -> Iterator[None]:
    before = {image.id for image in docker_engine.images.list(filters={"label": IMAGE_LABEL})}
    yield
    for image in docker_engine.images.list(filters={"label": IMAGE_LABEL}):
        if image.id not in before and image.attrs["Size"] < 1_000_000_000:
            docker_engine.images.remove(image.id, force=True)
