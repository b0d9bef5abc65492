"""Plans of trainings in containers, with a stand-in for the script and its image."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker import DockerClient

from schemas.settings import TrainingSettings
from tests.trainer.stand_in import STAND_IN, make_base_model
from trainer.docker_launcher import LABEL_DIRECTORY
from trainer.image import IMAGE_LABEL, REQUIREMENTS, SCRIPT, BuildContext
from trainer.launcher import Plan

DOCKERFILE = b"""\
FROM python:3.10-slim
COPY train_dpo.py /train_dpo.py
USER 1000:1000
ENTRYPOINT ["python", "-u", "/train_dpo.py"]
"""

MakePlan = Callable[..., Plan]


def small_context(mark: str = "") -> BuildContext:
    """An image that builds in a second; `mark` makes it another one."""
    script = STAND_IN.read_bytes() + f"\n# {mark}\n".encode()
    return BuildContext({"Dockerfile": DOCKERFILE, REQUIREMENTS: b"", SCRIPT: script})


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


@pytest.fixture(scope="session", autouse=True)
def _remove_small_images(docker_engine: DockerClient) -> Iterator[None]:
    before = {image.id for image in docker_engine.images.list(filters={"label": IMAGE_LABEL})}
    yield
    for image in docker_engine.images.list(filters={"label": IMAGE_LABEL}):
        if image.id not in before and image.attrs["Size"] < 1_000_000_000:
            docker_engine.images.remove(image.id, force=True)
