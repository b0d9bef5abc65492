"""What becomes of a training, by what its cluster says of Job and pod."""

from typing import Any

import msgspec
import pytest

from trainer.kubernetes_objects import Job, Pod
from trainer.kubernetes_state import Runs, Stuck, Waits, how_it_stands
from trainer.launcher import Ended

Body = dict[str, Any]


def job(*conditions: Body, uid: str = "u1") -> Job:
    content = {"metadata": {"name": "j", "uid": uid}, "status": {"conditions": list(conditions)}}
    return msgspec.convert(content, Job)


def failed(reason: str = "BackoffLimitExceeded") -> Body:
    return {"type": "Failed", "status": "True", "reason": reason, "message": "it has failed"}


COMPLETE = {"type": "Complete", "status": "True"}
DISRUPTED = {
    "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
    "message": "preempting to accommodate a higher priority pod",
}  # fmt: skip
UNPLACED = {
    "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
}  # fmt: skip


def pod(phase: str, *, owner: str = "u1", born: str = "1", **status: Any) -> Pod:
    content = {
        "metadata": {
            "name": f"p{born}", "uid": f"pod-{born}", "creationTimestamp": born,
            "ownerReferences": [{"uid": owner}],
        },
        "status": {"phase": phase, **status},
    }  # fmt: skip
    return msgspec.convert(content, Pod)


def state(kind: str, **words: Any) -> dict[str, Any]:
    """The status of the container, beside that of one that was injected."""
    return {
        "containerStatuses": [
            {"name": "proxy", "state": {"terminated": {"exitCode": 99}}},
            {"name": "training", "state": {kind: words}},
        ]
    }


def ended(code: int, reason: str = "Error", **status: Any) -> Pod:
    phase = "Failed" if code else "Succeeded"
    return pod(phase, **state("terminated", exitCode=code, reason=reason), **status)


# --- How it ended --------------------------------------------------------------------------------

MEMORY = "the container ran out of memory: raise training-memory"
BY_CLUSTER = "its cluster or somebody ended it"


@pytest.mark.parametrize(
    ("of_job", "pods", "expected"),
    [
        pytest.param(job(COMPLETE), [ended(0)], Ended(0), id="done"),
        pytest.param(job(), [ended(0)], Ended(0), id="done before its Job is told"),
        pytest.param(job(COMPLETE), [], Ended(0), id="done, and its pod collected"),
        pytest.param(job(failed()), [ended(10)], Ended(10), id="the script's own code"),
        pytest.param(
            job(failed()), [ended(10, conditions=[DISRUPTED])], Ended(10),
            id="the script's own code, just before it was preempted",
        ),
        pytest.param(job(failed()), [ended(137, "OOMKilled")], Ended(137, MEMORY), id="memory"),
        pytest.param(
            job(COMPLETE), [ended(0, "OOMKilled")], Ended(137, MEMORY), id="memory of a child"
        ),
        pytest.param(
            job(failed()), [ended(137)], Ended(137, f"{BY_CLUSTER} (137)", True), id="killed"
        ),
        pytest.param(
            job(failed()), [ended(143)], Ended(143, f"{BY_CLUSTER} (143)", True), id="asked to end"
        ),
        pytest.param(
            job(failed()),
            [ended(143, conditions=[DISRUPTED])],
            Ended(
                143,
                f"{BY_CLUSTER} (PreemptionByScheduler: preempting to accommodate a higher priority "
                "pod)",
                True,
            ),
            id="preempted",
        ),
        pytest.param(
            job(failed()),
            [pod("Failed", reason="Evicted", message="The node was low on resource: memory.")],
            Ended(137, f"{BY_CLUSTER} (Evicted: The node was low on resource: memory.)", True),
            id="evicted",
        ),
        pytest.param(
            job(failed()),
            [pod("Failed", reason="UnexpectedAdmissionError", message="no healthy devices")],
            Ended(137, f"{BY_CLUSTER} (UnexpectedAdmissionError: no healthy devices)", True),
            id="turned away by its node",
        ),
        pytest.param(
            job(failed()),
            [],
            Ended(
                137,
                "its pod was removed: drained, preempted or deleted (BackoffLimitExceeded: it has "
                "failed)",
                True,
            ),
            id="drained, and its pod gone",
        ),
        pytest.param(
            job(failed("DeadlineExceeded")),
            [],
            Ended(137, "it took longer than its Job may, and no trainer was there to stop it"),
            id="too long",
        ),
        pytest.param(
            job(failed()),
            [ended(128, "StartError")],
            Ended(128, "its container could not be started (StartError)"),
            id="not startable",
        ),
        pytest.param(
            job(COMPLETE), [ended(7, born="1"), ended(0, born="2")], Ended(0), id="the later pod"
        ),
        pytest.param(
            job(failed(), uid="u2"),
            [ended(0)],
            Ended(
                137,
                "its pod was removed: drained, preempted or deleted (BackoffLimitExceeded: it has "
                "failed)",
                True,
            ),
            id="a pod of a former Job does not count",
        ),
    ],
)  # fmt: skip
def test_how_it_ended(of_job: Job, pods: list[Pod], expected: Ended) -> None:
    assert how_it_stands(of_job, pods) == expected


# --- While it has not ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_job", "pods", "expected"),
    [
        (job(), [], Waits("its Job has no pod yet")),
        (job(), [pod("Pending")], Waits("its node makes it ready")),
        (
            job(),
            [pod("Pending", **state("waiting", reason="ContainerCreating"))],
            Waits("its node makes it ready (ContainerCreating)"),
        ),
        (
            job(),
            [pod("Pending", **state("waiting", reason="ErrImagePull", message="timed out"))],
            Waits("its node makes it ready (ErrImagePull: timed out)"),
        ),
        (
            job(),
            [pod("Pending", conditions=[UNPLACED])],
            Waits(
                "no node takes its pod (Unschedulable: 0/3 nodes are available: 3 Insufficient "
                "nvidia.com/gpu.)"
            ),
        ),
        (job(), [pod("Running")], Runs(pod("Running"))),
        # The Job has failed, its pod not: the script may still write.
        (job(failed("DeadlineExceeded")), [pod("Running")], Runs(pod("Running"))),
        (
            job(failed()),
            [ended(7, born="1"), pod("Unknown", born="2")],
            Runs(pod("Unknown", born="2")),
        ),
    ],
)
def test_while_it_has_not_ended(of_job: Job, pods: list[Pod], expected: object) -> None:
    assert how_it_stands(of_job, pods) == expected


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("ImagePullBackOff", "PAIRSTREAM_KUBERNETES_IMAGE"),
        ("InvalidImageName", "PAIRSTREAM_KUBERNETES_IMAGE"),
        ("CreateContainerConfigError", "correct what is named"),
    ],
)
def test_what_cannot_begin_is_told_with_the_clusters_words(reason: str, words: str) -> None:
    waiting = pod("Pending", **state("waiting", reason=reason, message="not\nfound " + 999 * "x"))

    standing = how_it_stands(job(), [waiting])

    assert isinstance(standing, Stuck)
    assert f"({reason}: not\\nfound x" in standing.why
    assert words in standing.why
    assert len(standing.why) < 600
