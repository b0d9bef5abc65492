"""The Kubernetes Job of one training, as a value. Pure: it asks no cluster and imports no client.

The Job fits the Pod Security Standard `restricted`. What no field of a Job can forbid, the network,
is up to the NetworkPolicy of deploy/kubernetes/trainings.yaml.
"""

import hashlib
import math
import re
from typing import Any

from trainer.kubernetes_placement import Placement, claim_of
from trainer.launcher import Plan
from trainer.mounts import Mount, mounts, script_arguments

LABEL_APP, APP = "app.kubernetes.io/name", "pairstream-training"
LABEL_DIRECTORY = "pairstream.data-dir-id"
LABEL_TRAINING = "pairstream.training-id"

CONTAINER = "training"

STOP_SECONDS = 60

# Beyond the trainer's own deadline: the cluster's takes the pod and its log away, so it only stands
# in for a trainer that is gone.
DEADLINE_MARGIN_SECONDS = 300

# How long a trainer may be away and still learn how a training ended.
KEPT_SECONDS = 7 * 86400

# Of the 63 characters that a name may have, those that are left to the training.
NAME_LENGTH = 40

GPU = "nvidia.com/gpu"

Manifest = dict[str, Any]


def job_name(plan: Plan) -> str:
    """A namespace has one Job of a name: this is the lock of one training."""
    return f"pairstream-{plan.directory_id}-{_name(plan.training_id)}"


def _name(training_id: str) -> str:
    """As Kubernetes takes it in names and labels: a user names datasets by any letters, and as
    long as they like; the hash keeps them apart.
    """
    if re.fullmatch(rf"[a-z0-9][a-z0-9-]{{,{NAME_LENGTH - 2}}}[a-z0-9]", training_id):
        return training_id
    digest = hashlib.sha256(training_id.encode()).hexdigest()[:8]
    plain = re.sub(r"[^a-z0-9]", "-", training_id.lower())[: NAME_LENGTH - 9].strip("-")
    return f"{plain}-{digest}"


def image_reference(plan: Plan, image: str) -> str:
    """The image as a node pulls it; a name alone gets the tag of the plan's build context."""
    has_version = "@" in image or ":" in image.rpartition("/")[2]
    return image if has_version else f"{image}:{plan.context.hash}"


def job_manifest(plan: Plan, where: Placement, *, user: int, group: int) -> Manifest:
    """The body of the request that creates the Job. Raises: InvalidSettings."""
    labels = {
        LABEL_APP: APP,
        LABEL_DIRECTORY: plan.directory_id,
        LABEL_TRAINING: _name(plan.training_id),
    }
    deadline = math.ceil(plan.settings.training_deadline_seconds) + DEADLINE_MARGIN_SECONDS
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job_name(plan), "namespace": where.namespace, "labels": labels},
        "spec": {
            # How a training goes on after an interruption is the trainer's to say, and it sees to
            # it that no two pods write into one folder: so does the policy of replacement.
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": deadline,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(plan, where, user=user, group=group),
            },
        },
    }


def _pod(plan: Plan, where: Placement, *, user: int, group: int) -> Manifest:
    pod: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": STOP_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # the environment would name every service
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": group,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(plan, where)],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}},
            *(
                {"name": name, "persistentVolumeClaim": {"claimName": claim}}
                for claim, name in _volumes(plan, where).items()
            ),
        ],
    }
    if where.node_selector:
        pod["nodeSelector"] = where.node_selector
    if where.tolerations:
        pod["tolerations"] = where.tolerations
    return pod


def _container(plan: Plan, where: Placement) -> Manifest:
    container: Manifest = {
        "name": CONTAINER,
        "image": image_reference(plan, where.image),
        "args": script_arguments(plan),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - inside the container
            *(_volume_mount(mount, where, _volumes(plan, where)) for mount in mounts(plan)),
        ],
    }
    if limits := _limits(plan):
        container["resources"] = {"limits": limits, "requests": limits}
    return container


def _limits(plan: Plan) -> dict[str, str]:
    settings = plan.settings
    limits = {}
    if settings.training_memory:
        number = settings.training_memory.rstrip("kmgKMG")
        unit = settings.training_memory[len(number) :].upper()
        limits["memory"] = number + {"": "", "K": "Ki", "M": "Mi", "G": "Gi"}[unit]
    if settings.training_cpus:
        limits["cpu"] = f"{math.ceil(settings.training_cpus * 1000)}m"
    if settings.training_device == "cuda":  # whether there is one, no field can ask
        limits[GPU] = "1"
    return limits


def _volumes(plan: Plan, where: Placement) -> dict[str, str]:
    """The claims that it needs, and the name of each among the pod's volumes."""
    used = sorted({claim_of(mount.folder, where.claims).name for mount in mounts(plan)})
    return {claim: f"claim-{number}" for number, claim in enumerate(used, 1)}


def _volume_mount(mount: Mount, where: Placement, volumes: dict[str, str]) -> Manifest:
    claim = claim_of(mount.folder, where.claims)
    sub_path = str(mount.folder.relative_to(claim.folder))
    return {
        "name": volumes[claim.name],
        "mountPath": mount.at,
        "readOnly": not mount.writable,
        **({} if sub_path == "." else {"subPath": sub_path}),
    }
