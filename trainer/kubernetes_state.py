"""How a training stands in its cluster, from its Job and its pods. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.kubernetes_objects import Job, Pod
from trainer.launcher import ENGINE_ENDED, KILLED, Ended

BAD_IMAGE = {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
BAD_CONTAINER = {"CreateContainerConfigError", "CreateContainerError"}


@dataclass(frozen=True)
class Runs:
    """Its script runs, or is just ending."""

    pod: Pod


@dataclass(frozen=True)
class Waits:
    """It has not begun, for this reason, which may pass by itself."""

    why: str


@dataclass(frozen=True)
class Stuck:
    """It has not begun, and does not as long as it is asked for like this."""

    why: str


def how_it_stands(job: Job, pods: Sequence[Pod]) -> Runs | Waits | Stuck | Ended:
    """Ended only when no pod of the Job runs any more: then another one may begin."""
    own = job.own(pods)
    alive = [pod for pod in own if not pod.has_ended]
    if alive:
        return _of_living(alive[-1])
    failure = job.condition("Failed")
    if failure is not None and failure.reason == "DeadlineExceeded":
        return Ended(KILLED, "it took longer than its Job may, and no trainer was there to stop it")
    if own:
        return _of_ended(own[-1])
    if job.condition("Complete") is not None:
        return Ended(0)
    if failure is not None:
        return Ended(
            KILLED, f"its pod was removed: drained, preempted or deleted ({failure})", True
        )
    return Waits("its Job has no pod yet")


def _of_living(pod: Pod) -> Runs | Waits | Stuck:
    waiting = pod.container.waiting
    if waiting is not None and waiting.reason in BAD_IMAGE:
        return Stuck(
            f"the training image cannot be had ({waiting}): push it to the registry, let the nodes "
            "pull from there, or correct PAIRSTREAM_KUBERNETES_IMAGE"
        )
    if waiting is not None and waiting.reason in BAD_CONTAINER:
        return Stuck(f"its container cannot be made ({waiting}): correct what is named")
    if pod.status.phase != "Pending":
        return Runs(pod)
    unplaced = pod.condition("PodScheduled", "False")
    if unplaced is not None:
        return Waits(f"no node takes its pod ({unplaced})")
    return Waits(f"its node makes it ready ({waiting})" if waiting else "its node makes it ready")


def _of_ended(pod: Pod) -> Ended:
    """The script's own end is told before what the cluster did to it as well."""
    end = pod.container.terminated
    code = KILLED if end is None or end.exit_code is None else end.exit_code
    if end is not None and end.reason == "OOMKilled":
        return Ended(code or KILLED, "the container ran out of memory: raise training-memory")
    if pod.status.phase == "Succeeded":
        return Ended(0)
    if end is not None and end.reason in ("StartError", "ContainerCannotRun"):
        return Ended(code, f"its container could not be started ({end})")
    if code in ENGINE_ENDED:
        return Ended(code, f"its cluster or somebody ended it ({_who(pod) or code})", True)
    return Ended(code or KILLED)


def _who(pod: Pod) -> str:
    """What the cluster says of an end that was its own doing."""
    disruption = pod.condition("DisruptionTarget", "True")
    if pod.status.reason:
        return " ".join(str(part) for part in (pod.status.words, disruption) if part)
    return str(disruption or "")
