"""The promises of launchers, by processes and by a cluster that is played."""

from pathlib import Path

import pytest

from tests.trainer.launcher_places import KubernetesPlace, ProcessPlace
from tests.trainer.launcher_promises import LauncherPromises
from tests.trainer.played_cluster import PlayedCluster
from trainer import kubernetes_launcher

pytestmark = pytest.mark.long


class TestProcess(LauncherPromises):
    @pytest.fixture
    def place(self, tmp_path: Path) -> ProcessPlace:
        return ProcessPlace(tmp_path)


class TestKubernetes(LauncherPromises):
    @pytest.fixture
    def place(
        self, tmp_path: Path, played_cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
    ) -> KubernetesPlace:
        monkeypatch.setattr(kubernetes_launcher, "LOG_SECONDS", 0.0)
        return KubernetesPlace(tmp_path, played_cluster)
