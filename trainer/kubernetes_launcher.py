"""Trains in Jobs of a Kubernetes cluster, which share the trainer's folders with it by claims."""

import math
import time
from collections.abc import Callable

import structlog

from trainer.followed_log import FollowedLog
from trainer.kubernetes_cluster import Cluster
from trainer.kubernetes_manifest import (
    GPU,
    STOP_SECONDS,
    image_reference,
    job_manifest,
    job_name,
)
from trainer.kubernetes_objects import Job, Pod
from trainer.kubernetes_placement import Placement, claim_of
from trainer.kubernetes_state import Runs, Stuck, Waits, how_it_stands
from trainer.launcher import KILLED, Ended, EngineUnavailable, Plan, Progress
from trainer.mounts import container_user, mounts

log = structlog.get_logger()

# For a Job to go with its pod, which is asked to end first.
GONE_SECONDS = 2.0 * STOP_SECONDS
WAIT_SECONDS = 0.5

# Between two looks at the log of a pod that runs: each is a request that goes through to its node.
LOG_SECONDS = 5.0

# Lines of the last look come again, so that none is lost to a node that was behind with them.
LOG_OVERLAP_SECONDS = 60


class KubernetesLauncher:
    """One namespace of a cluster; the name of a Job is the lock of its training."""

    name = "kubernetes"

    def __init__(self, where: Placement) -> None:
        """Raises: EngineUnavailable where no cluster is named."""
        self._where = where
        self._cluster = Cluster(where.namespace)
        self._logs: dict[str, _PodLog] = {}
        self._told: dict[str, str] = {}
        self._stopped: dict[str, Ended] = {}

    def prepare(self, plan: Plan, progress: Progress) -> str:
        """The image is the registry's affair; what it takes is looked at here.

        Raises: InvalidSettings where no claim holds what a training must see.
        """
        for mount in mounts(plan):
            claim_of(mount.folder, self._where.claims)
        image = image_reference(plan, self._where.image)
        progress(f"the cluster's nodes pull {image}")
        if plan.settings.training_device == "auto":
            progress(f"no {GPU} is asked for: PAIRSTREAM_TRAINING_DEVICE=cuda asks for one")
        return image

    def start(self, plan: Plan) -> None:
        def is_there() -> bool:
            job = self._cluster.job(job_name(plan))
            if job is not None:
                return job.metadata.deletion_timestamp is None
            user, group = container_user(plan.folder)
            return self._cluster.create(job_manifest(plan, self._where, user=user, group=group))

        _wait_for(is_there, f"the former Job {job_name(plan)} does not go")

    def poll(self, plan: Plan) -> Ended | None:
        job = self._cluster.job(job_name(plan))
        if job is None:
            removed = Ended(KILLED, "its Job was removed by somebody else")
            return self._stopped.get(plan.training_id, removed)
        return self._look(plan, job)

    def _look(self, plan: Plan, job: Job) -> Ended | None:
        pods = self._cluster.pods(job)
        standing = how_it_stands(job, pods)
        match standing:
            case Waits(why):
                self._tell(plan, why)
                return None
            case Stuck(why):
                self._cluster.delete(job)  # its script has not begun: the next try is as good
                raise EngineUnavailable(why)
            case Runs(pod):
                self._log(plan).copy(pod, seldom=True)
                return None
            case Ended():
                for pod in pods[-1:]:
                    self._log(plan).copy(pod)
                return standing

    def _tell(self, plan: Plan, why: str) -> None:
        """Once, until it waits for something else."""
        if self._told.get(plan.training_id) != why:
            log.info("training_waits", training_id=plan.training_id, why=why)
            self._told[plan.training_id] = why

    def _log(self, plan: Plan) -> "_PodLog":
        return self._logs.setdefault(
            plan.training_id, _PodLog(self._cluster, FollowedLog(plan.folder))
        )

    def stop(self, plan: Plan) -> None:
        job = self._cluster.job(job_name(plan))
        if job is None:
            return
        self._cluster.delete(job)

        def is_gone() -> bool:
            left = self._cluster.job(job_name(plan))
            if left is None:
                return True
            pods = self._cluster.pods(left)
            for pod in pods[-1:]:
                self._log(plan).copy(pod)
                standing = how_it_stands(left, pods)
                if isinstance(standing, Ended):
                    self._stopped[plan.training_id] = standing
            return False

        self._stopped[plan.training_id] = Ended(KILLED, "it was stopped")
        _wait_for(is_gone, f"the Job {job_name(plan)} does not go")

    def clean_up(self, plan: Plan) -> None:
        job = self._cluster.job(job_name(plan))
        if job is not None:
            self._cluster.delete(job)


class _PodLog:
    """The log of a training's pod, copied in time."""

    def __init__(self, cluster: Cluster, followed: FollowedLog) -> None:
        self._cluster = cluster
        self._followed = followed
        self._asked_at: float | None = None
        self._read_at: float | None = None
        self._trouble = ""

    def copy(self, pod: Pod, *, seldom: bool = False) -> None:
        """What cannot be had of it is told and left out: its node may be gone for good."""
        now = time.monotonic()
        if seldom and self._asked_at is not None and now - self._asked_at < LOG_SECONDS:
            return
        self._asked_at = now
        # By how long ago it was, as the clocks of node and trainer may differ.
        since = None
        if self._read_at is not None:
            since = math.ceil(now - self._read_at) + LOG_OVERLAP_SECONDS
        try:
            self._followed.copy(lambda _: self._cluster.log(pod, since))
        except EngineUnavailable as error:
            if str(error) != self._trouble:
                log.warning("training_log_not_read", pod=pod.metadata.name, why=str(error))
            self._trouble = str(error)
            return
        self._read_at, self._trouble = now, ""


def _wait_for(is_so: Callable[[], bool], otherwise: str) -> None:
    """Raises: EngineUnavailable when it takes too long."""
    deadline = time.monotonic() + GONE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise EngineUnavailable(f"{otherwise}: see kubectl describe job")
        time.sleep(WAIT_SECONDS)
