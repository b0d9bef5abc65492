"""Trainings in a cluster that is played over HTTP: how it misbehaves, and what is told of it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from structlog.testing import capture_logs

from schemas.errors import InvalidSettings, PairstreamError
from tests.conftest import Pairstream
from tests.trainer.launcher_places import KubernetesPlace
from tests.trainer.launcher_promises import (
    followed,
    log_of,
    nothing_to_say,
    prepared_and_started,
    starts,
)
from tests.trainer.played_cluster import (
    JOBS,
    PODS,
    Body,
    Fault,
    PlayedCluster,
    end_job,
    end_pod,
)
from tests.trainer.stand_in import make_base_model
from tests.waiting import wait_for
from trainer import kubernetes_cluster, kubernetes_launcher
from trainer.launcher import Ended, EngineUnavailable, Launcher, Plan

pytestmark = pytest.mark.long

NAME = "pairstream-d1-t-1"


class Waiting(NamedTuple):
    launcher: Launcher
    plan: Plan
    pod: Body


@pytest.fixture
def place(
    tmp_path: Path, played_cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> KubernetesPlace:
    monkeypatch.setattr(kubernetes_launcher, "LOG_SECONDS", 0.0)
    return KubernetesPlace(tmp_path, played_cluster)


@pytest.fixture
def waiting(place: KubernetesPlace, played_cluster: PlayedCluster) -> Waiting:
    """A training whose pod waits for what a test makes of it."""
    played_cluster.runs_pods = False
    launcher, plan = place.launcher(), place.plan()
    launcher.start(plan)
    [pod] = played_cluster.pods.values()
    return Waiting(launcher, plan, pod)


def test_the_cluster_gets_what_was_planned(
    place: KubernetesPlace, played_cluster: PlayedCluster
) -> None:
    launcher, plan = place.launcher(), place.plan()
    said: list[str] = []

    image = launcher.prepare(plan, said.append)
    launcher.start(plan)

    assert image == f"registry.example/pairstream-training:{plan.context.hash}"
    assert said == [f"the cluster's nodes pull {image}"]
    job = played_cluster.jobs[NAME]
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == image
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert followed(launcher, plan) == Ended(0)


def test_a_gpu_that_nobody_asks_for_is_said(place: KubernetesPlace) -> None:
    said: list[str] = []

    place.launcher().prepare(place.plan(training_device="auto"), said.append)

    assert said[-1].startswith("no nvidia.com/gpu is asked for")


def test_a_folder_that_no_claim_holds_is_told_before_anything_is_made(
    place: KubernetesPlace, played_cluster: PlayedCluster
) -> None:
    plan = place.plan(kubernetes_claims="data=/elsewhere")

    with pytest.raises(InvalidSettings, match="no claim holds"):
        place.launcher(plan).prepare(plan, nothing_to_say)
    assert played_cluster.requests == []


# --- Misbehaviour --------------------------------------------------------------------------------

REFUSALS = [
    (Fault(".*", 500, '{"message": "etcdserver: leader changed"}'), "500: etcdserver: leader ch"),
    (Fault(".*", 410, '{"message": "too old"}'), "410: too old"),
    (Fault(".*", 429, '{"message": "slow down"}'), "429: slow down"),
    (Fault(".*", 401, "Unauthorized"), "401: Unauthorized.*credentials"),
    (Fault(".*", 403, '{"message": "forbidden"}'), "403: forbidden.*trainings.yaml"),
    (Fault(".*", 502, "<html>\nbad gateway"), r"502: <html>\\nbad gateway"),
    (Fault(".*", 200, "<html>"), "no Kubernetes API answers as one"),
    (Fault(".*", 200, "{}"), "no Kubernetes API answers as one"),
    (Fault(".*"), "no Kubernetes API answers as one"),
]


@pytest.mark.parametrize(("fault", "words"), REFUSALS, ids=[words for _, words in REFUSALS])
def test_an_api_that_refuses_or_fails_is_told_and_tried_again(
    fault: Fault, words: str, place: KubernetesPlace, played_cluster: PlayedCluster
) -> None:
    launcher, plan = place.launcher(), place.plan("--until", place.seen("go"))
    prepared_and_started(launcher, plan)
    calls: list[Callable[[], object]] = [
        lambda: launcher.poll(plan),
        lambda: launcher.start(plan),
        lambda: launcher.stop(plan),
        lambda: launcher.clean_up(plan),
    ]

    for call in calls:
        played_cluster.faults = [Fault(**{**vars(fault), "times": 1})]
        with pytest.raises(EngineUnavailable, match=words):
            call()

    (plan.folder / "go").touch()
    assert followed(launcher, plan) == Ended(0)
    assert starts(plan) == 1


def test_an_api_that_is_not_there_or_slow_is_told(
    place: KubernetesPlace, played_cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_cluster, "TIMEOUT_SECONDS", (5.0, 0.2))
    launcher, plan = place.launcher(), place.plan()
    played_cluster.faults = [Fault("GET .*", 200, "{}", seconds=1.0)]

    with pytest.raises(EngineUnavailable, match="ReadTimeoutError"):
        launcher.poll(plan)

    played_cluster.close()
    with pytest.raises(EngineUnavailable, match="no Kubernetes API answers"):
        launcher.poll(plan)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(f"POST {JOBS}", done=True),
        Fault(f"POST {JOBS}", 504, '{"message": "timeout"}', done=False),
        Fault(f"POST {JOBS}"),
    ],
    ids=["done, answer lost", "refused", "not done"],
)
def test_a_start_whose_answer_is_lost_starts_once(
    fault: Fault, place: KubernetesPlace, played_cluster: PlayedCluster
) -> None:
    launcher, plan = place.launcher(), place.plan()
    played_cluster.faults = [Fault(**vars(fault))]

    with pytest.raises(EngineUnavailable):
        launcher.start(plan)
    launcher.start(plan)

    assert followed(launcher, plan) == Ended(0)
    assert starts(plan) == 1


def test_who_comes_second_to_create_it_follows_the_first(
    place: KubernetesPlace, played_cluster: PlayedCluster
) -> None:
    plan = place.plan()
    place.launcher().start(plan)
    played_cluster.faults = [Fault(f"GET {JOBS}/.*", 404, "{}")]

    place.launcher().start(plan)

    assert played_cluster.requests.count(f"POST {JOBS}") == 2
    assert followed(place.launcher(), plan) == Ended(0)
    assert starts(plan) == 1


def test_a_start_waits_for_the_former_job_to_go(
    waiting: Waiting, played_cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, plan, pod = waiting
    launcher.clean_up(plan)
    pod["metadata"]["finalizers"] = ["somebody's"]
    monkeypatch.setattr(kubernetes_launcher, "GONE_SECONDS", 0.1)

    with pytest.raises(EngineUnavailable, match=f"the former Job {NAME} does not go"):
        launcher.start(plan)

    del pod["metadata"]["finalizers"]
    played_cluster.runs_pods = True
    launcher.start(plan)
    assert followed(launcher, plan) == Ended(0)
    assert starts(plan) == 1


# --- What becomes of it --------------------------------------------------------------------------


def test_an_image_that_cannot_be_had_is_told_and_the_next_try_asks_anew(
    waiting: Waiting, played_cluster: PlayedCluster
) -> None:
    launcher, plan, pod = waiting
    why = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
    pod["status"]["containerStatuses"] = [{"name": "training", "state": {"waiting": why}}]

    with pytest.raises(EngineUnavailable, match=r"Back-off pulling.*PAIRSTREAM_KUBERNETES_IMAGE"):
        launcher.poll(plan)

    assert played_cluster.job_names() == []
    played_cluster.runs_pods = True
    launcher.start(plan)
    assert followed(launcher, plan) == Ended(0)


def test_what_it_waits_for_is_told_once(waiting: Waiting) -> None:
    launcher, plan, pod = waiting

    with capture_logs() as told:
        for _ in range(3):
            assert launcher.poll(plan) is None
        pod["status"]["conditions"] = [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        ]
        for _ in range(3):
            assert launcher.poll(plan) is None

    assert [line["why"] for line in told] == [
        "its node makes it ready",
        "no node takes its pod (Unschedulable)",
    ]


def test_a_pod_that_was_drained_away_is_an_interruption(
    place: KubernetesPlace, played_cluster: PlayedCluster
) -> None:
    launcher, plan = place.launcher(), place.plan("--until", place.seen("never"))
    launcher.start(plan)
    wait_for(lambda: starts(plan) == 1)
    [name] = played_cluster.pods
    end_job(played_cluster.jobs[NAME], "Failed", "BackoffLimitExceeded")
    assert launcher.poll(plan) is None, "its pod still runs"

    del played_cluster.pods[name]

    ended = launcher.poll(plan)
    assert ended is not None
    assert (ended.code, ended.interrupted) == (137, True)


def test_a_job_that_somebody_removed_has_failed(
    place: KubernetesPlace, played_cluster: PlayedCluster
) -> None:
    launcher, plan = place.launcher(), place.plan("--until", place.seen("never"))
    launcher.start(plan)

    played_cluster.jobs.clear()

    assert launcher.poll(plan) == Ended(137, "its Job was removed by somebody else")


def test_a_log_that_cannot_be_had_is_told_and_holds_nothing_up(
    place: KubernetesPlace, played_cluster: PlayedCluster
) -> None:
    launcher, plan = place.launcher(), place.plan("--until", place.seen("go"))
    prepared_and_started(launcher, plan)
    wait_for(lambda: launcher.poll(plan) is None and "begun" in log_of(plan))
    played_cluster.faults = [Fault(f"GET {PODS}/.*/log", 500, '{"message": "no route"}', times=99)]

    with capture_logs() as told:
        (plan.folder / "go").touch()
        assert followed(launcher, plan) == Ended(0)

    assert log_of(plan) == "begun\n"
    assert told[-1]["event"] == "training_log_not_read"
    assert "no route" in told[-1]["why"]
    assert told[-1]["log_level"] == "warning"


def test_the_log_of_a_running_pod_is_asked_for_seldom(
    place: KubernetesPlace, played_cluster: PlayedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_launcher, "LOG_SECONDS", 3600.0)
    launcher, plan = place.launcher(), place.plan("--until", place.seen("go"))
    prepared_and_started(launcher, plan)
    for _ in range(5):
        assert launcher.poll(plan) is None
    (plan.folder / "go").touch()
    assert followed(launcher, plan) == Ended(0)

    asked = [request for request in played_cluster.requests if request.endswith("/log")]
    assert len(asked) == 2
    assert log_of(plan).startswith("begun\ntrained ")


def test_an_end_by_the_clusters_hand_is_followed_by_its_reason(waiting: Waiting) -> None:
    launcher, plan, pod = waiting
    end_pod(pod, 137)
    pod["status"] |= {"reason": "Evicted", "message": "The node was low on resource: memory."}

    ended = launcher.poll(plan)

    assert ended is not None
    assert ended.interrupted
    assert "Evicted: The node was low on resource: memory." in str(ended.why)


# --- Where there is no cluster -------------------------------------------------------------------


def test_without_a_cluster_it_says_how_to_name_one(
    place: KubernetesPlace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))

    with pytest.raises(EngineUnavailable, match="set KUBECONFIG"):
        place.launcher()


def test_without_the_client_it_says_what_to_install(
    place: KubernetesPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)

    with pytest.raises(PairstreamError, match=r"pip install 'pairstream\[kubernetes\]'"):
        place.launcher()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "kubernetes-image is not set"),
        (("--kubernetes-image", "r/i", "--kubernetes-claims", "x=/nowhere"), "no claim holds"),
    ],
)
def test_a_trainer_that_could_start_no_job_ends_before_it_begins(
    flags: tuple[str, ...], words: str, pairstream: Pairstream, tmp_path: Path
) -> None:
    base_model = make_base_model(tmp_path / "base")

    done = pairstream(
        "trainer", "--launcher", "kubernetes", "--base-model", base_model, *flags, check=False
    )

    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "pairstream-data").exists()
