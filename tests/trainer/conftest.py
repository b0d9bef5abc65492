"""Fixtures of the trainer's tests."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.apache_kafka import ApacheKafka
from tests.conftest import Pairstream
from tests.trainer.bench import Bench
from tests.trainer.deployment import Deployment
from tests.trainer.played_cluster import PlayedCluster
from tests.trainer.stand_in import stand_in_context
from tests.waiting import wait_for
from trainer import kubernetes_launcher, process_launcher, training
from trainer.training_manifest import TrainingManifest


@pytest.fixture
def deployment(
    embedded_broker: str, prefix: str, tmp_path: Path, pairstream: Pairstream
) -> Deployment:
    return Deployment(embedded_broker, prefix, tmp_path / "data", pairstream)


@pytest.fixture
def on_kafka(
    apache_kafka: ApacheKafka, prefix: str, tmp_path: Path, pairstream: Pairstream
) -> Deployment:
    return Deployment(apache_kafka.bootstrap_servers, prefix, tmp_path / "data", pairstream)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(training, "training_context", stand_in_context)
    monkeypatch.setattr(training, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(process_launcher, "POLL_SECONDS", 0.02)
    return Bench(tmp_path)


@pytest.fixture
def in_background(bench: Bench) -> Any:
    """Run a training beside the test; whatever happens, its script is let go."""
    gate = bench.root / "gate"
    with ThreadPoolExecutor(2) as pool:

        def submit(arguments: str = "", **settings: Any) -> Future[TrainingManifest]:
            future = pool.submit(bench.run, f"--until {gate} {arguments}", **settings)
            wait_for(lambda: bench.counts() == ["started"] or future.done())
            return future

        yield submit
        gate.touch()


@pytest.fixture
def played_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedCluster]:
    """A cluster that KUBECONFIG names, whose claims `data` and `models` are folders of the test."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr(kubernetes_launcher, "WAIT_SECONDS", 0.02)
    cluster = PlayedCluster({"data": tmp_path / "data", "models": tmp_path / "models"})
    cluster.write_kubeconfig(tmp_path / "kubeconfig")
    yield cluster
    cluster.close()
