"""Whole trainings in a cluster that is played, from the dataset to the archive."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.trainer.bench import Bench
from tests.trainer.lives import whole_life
from tests.trainer.played_cluster import PlayedCluster
from tests.waiting import wait_for
from trainer.launcher import EngineUnavailable, make_launcher
from trainer.training import run_training
from trainer.training_manifest import TrainingManifest

pytestmark = pytest.mark.long


def train(bench: Bench, arguments: str = "") -> TrainingManifest:
    """By a launcher of its own, as a trainer that has just been started."""
    settings = bench.settings(
        arguments,
        launcher="kubernetes",
        kubernetes_image="registry.example/pairstream-training@sha256:0",
        kubernetes_claims=f"data={bench.root}",
    )
    return run_training(
        bench.request,
        settings,
        make_launcher(settings, bench.root / "venv"),
        on_step=lambda step, detail: bench.steps.append((step, detail)),
        stop=bench.stop,
    )


@pytest.fixture
def cluster(bench: Bench, played_cluster: PlayedCluster) -> PlayedCluster:
    """Its claim `data` holds all of the bench."""
    played_cluster.claims = {"data": bench.root}
    return played_cluster


def test_a_training_is_archived_and_leaves_no_job(bench: Bench, cluster: PlayedCluster) -> None:
    manifest = train(bench)

    assert manifest.succeeded
    assert (manifest.launcher, manifest.image) == (
        "kubernetes", "registry.example/pairstream-training@sha256:0"
    )  # fmt: skip
    assert bench.request.archive.is_file()
    assert [step for step, _ in bench.steps] == whole_life()
    assert cluster.job_names() == []
    assert bench.counts() == ["started", "ended"]


def test_an_interrupted_training_is_started_again_once_its_pod_has_gone(
    bench: Bench, cluster: PlayedCluster
) -> None:
    gate = bench.root / "gate"
    with ThreadPoolExecutor(1) as pool:
        interrupted = pool.submit(train, bench, f"--until {gate}")
        # The script may write before the cluster has taken down that it runs it.
        wait_for(lambda: bench.counts() == ["started"] and len(cluster.containers) == 1)
        [container] = cluster.containers.values()
        container.signal(signal.SIGKILL)
        with pytest.raises(EngineUnavailable, match=r"interrupted \(1 of at most 2 times\)"):
            interrupted.result(60)

    gate.touch()
    manifest = train(bench, f"--until {gate}")

    assert manifest.succeeded
    assert manifest.interruptions == 1
    assert bench.counts() == ["started", "started", "ended"]
    assert cluster.job_names() == []
