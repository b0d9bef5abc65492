"""The promises of launchers, by containers."""

import pytest
from docker import DockerClient

from tests.containers.conftest import MakePlan
from tests.trainer.launcher_promises import LauncherPromises
from trainer.docker_launcher import DockerLauncher, container_name
from trainer.launcher import Plan

pytestmark = pytest.mark.docker


class DockerPlace:
    def __init__(self, make_plan: MakePlan, engine: DockerClient) -> None:
        self._make_plan = make_plan
        self._engine = engine

    def launcher(self) -> DockerLauncher:
        return DockerLauncher()

    def plan(self, *arguments: str) -> Plan:
        return self._make_plan(*arguments)

    def seen(self, name: str) -> str:
        return f"/output/{name}"

    def leftovers(self) -> list[str]:
        found = self._engine.containers.list(
            all=True, filters={"name": container_name(self.plan())}
        )
        return [str(container.name) for container in found]


class TestDocker(LauncherPromises):
    @pytest.fixture
    def place(self, make_plan: MakePlan, docker_engine: DockerClient) -> DockerPlace:
        return DockerPlace(make_plan, docker_engine)
