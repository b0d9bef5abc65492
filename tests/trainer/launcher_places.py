"""Where the stand-in for the training script runs: a process, and a cluster that is played."""

import sys
from pathlib import Path
from typing import Any

from schemas.settings import TrainingSettings
from tests.trainer.launcher_promises import folders
from tests.trainer.played_cluster import PlayedCluster
from tests.trainer.stand_in import make_base_model, stand_in_context
from trainer.kubernetes_launcher import KubernetesLauncher
from trainer.kubernetes_placement import placement
from trainer.launcher import Plan
from trainer.process_launcher import ProcessLauncher


class ProcessPlace:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._dataset, self._folder = folders(root)
        make_base_model(root / "base")

    def launcher(self) -> ProcessLauncher:
        return ProcessLauncher(self._root / "venv")

    def plan(self, *arguments: str) -> Plan:
        context = stand_in_context()
        context.write(self._folder / "context")
        return Plan(
            training_id="t-1",
            directory_id="d1",
            dataset=self._dataset,
            base_model=self._root / "base",
            folder=self._folder,
            arguments=["--starts", self.seen("starts"), *arguments],
            settings=TrainingSettings(launcher="process", training_python=sys.executable),
            context=context,
        )

    def seen(self, name: str) -> str:
        return str(self._folder / name)

    def leftovers(self) -> list[str]:
        return []


class KubernetesPlace:
    def __init__(self, root: Path, cluster: PlayedCluster) -> None:
        self._root = root
        self._cluster = cluster
        self._dataset, self._folder = folders(root / "data")
        (root / "models").mkdir()
        make_base_model(root / "models" / "base")

    def launcher(self, plan: Plan | None = None) -> KubernetesLauncher:
        return KubernetesLauncher(placement(plan.settings if plan else self._settings()))

    def _settings(self, **given: Any) -> TrainingSettings:
        settings = {
            "kubernetes_image": "registry.example/pairstream-training",
            "kubernetes_claims": f"data={self._root}/data,models={self._root}/models",
            "training_device": "cpu",
        }
        return TrainingSettings(launcher="kubernetes", **settings | given)

    def plan(self, *arguments: str, **settings: Any) -> Plan:
        return Plan(
            training_id="t-1",
            directory_id="d1",
            dataset=self._dataset,
            base_model=self._root / "models" / "base",
            folder=self._folder,
            arguments=["--starts", self.seen("starts"), *arguments],
            settings=self._settings(**settings),
            context=stand_in_context(),
        )

    def seen(self, name: str) -> str:
        return f"/output/{name}"

    def leftovers(self) -> list[str]:
        return self._cluster.job_names()
