"""The Job of a training as a value: what settings make of it, and that Kubernetes takes it."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils as kubernetes_schemas

from schemas.errors import InvalidSettings
from schemas.settings import TrainingSettings
from tests.trainer.stand_in import stand_in_context
from trainer.kubernetes_manifest import (
    LABEL_APP,
    LABEL_DIRECTORY,
    LABEL_TRAINING,
    image_reference,
    job_manifest,
)
from trainer.kubernetes_placement import Claim, check_placement, claim_of, placement
from trainer.launcher import Plan, Previous

# podReplacementPolicy came with the oldest of them.
VERSIONS = sorted({each for each in kubernetes_schemas.all_versions() if each >= "1.28"})

SHIPPED = Path(__file__).parents[2] / "deploy" / "kubernetes" / "trainings.yaml"

IMAGE = "registry.example:5000/ml/pairstream-training"
CLAIMS = "data=/data,models=/models"


def make_plan(previous: Previous | None = None, **settings: Any) -> Plan:
    given = {"kubernetes_image": IMAGE, "kubernetes_claims": CLAIMS, **settings}
    return Plan(
        training_id="dpo-ds-000001",
        directory_id="a1b2c3d4",
        dataset=Path("/data/datasets/ds-000001"),
        base_model=Path("/models/base"),
        folder=Path("/data/models/dpo-ds-000001"),
        arguments=["--beta", "0.3"],
        settings=TrainingSettings(launcher="kubernetes", **given),
        context=stand_in_context(),
        previous=previous,
    )


def make_job(plan: Plan) -> dict[str, Any]:
    return job_manifest(plan, placement(plan.settings), user=1000, group=1001)


def pod_of(plan: Plan) -> dict[str, Any]:
    return make_job(plan)["spec"]["template"]["spec"]


def container_of(plan: Plan) -> dict[str, Any]:
    [container] = pod_of(plan)["containers"]
    return container


EVERYTHING = {
    "training_memory": "8g",
    "training_cpus": 1.5,
    "training_device": "cuda",
    "kubernetes_node_selector": "pool=gpu, topology.kubernetes.io/zone=a",
    "kubernetes_tolerations": "nvidia.com/gpu:NoSchedule,pool=gpu,anything",
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("settings", [{}, EVERYTHING], ids=["least", "most"])
def test_the_job_is_one_by_the_schemas_of_kubernetes(
    settings: dict[str, Any], version: str
) -> None:
    plan = make_plan(Previous("dpo-ds-000000", "continue"), **settings)

    kubernetes_validate.validate(make_job(plan), version, strict=True)


def test_a_job_that_is_none_is_found_by_the_schemas() -> None:
    """Else the test above would hold of anything."""
    job = make_job(make_plan())
    job["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readonly"] = True

    with pytest.raises(kubernetes_validate.ValidationError, match="readonly"):
        kubernetes_validate.validate(job, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_shipped_beside_it_is_valid(version: str) -> None:
    shipped = list(yaml.safe_load_all(SHIPPED.read_text()))

    assert len(shipped) >= 5
    for manifest in shipped:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_shipped_policy_cuts_these_pods_off() -> None:
    shipped = yaml.safe_load_all(SHIPPED.read_text())
    [policy] = [each for each in shipped if each["kind"] == "NetworkPolicy"]
    labels = make_job(make_plan())["spec"]["template"]["metadata"]["labels"]

    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert {"ingress", "egress"}.isdisjoint(policy["spec"])


def test_the_job_is_named_and_labelled_after_its_training_and_ends_by_itself() -> None:
    plan = make_plan(training_deadline_seconds=100.5)
    job = make_job(plan)
    labels = {
        LABEL_APP: "pairstream-training",
        LABEL_DIRECTORY: "a1b2c3d4",
        LABEL_TRAINING: "dpo-ds-000001",
    }

    assert job["metadata"] == {
        "name": "pairstream-a1b2c3d4-dpo-ds-000001", "namespace": "pairstream", "labels": labels,
    }  # fmt: skip
    assert job["spec"]["template"]["metadata"]["labels"] == labels
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    assert job["spec"]["activeDeadlineSeconds"] == 101 + 300
    assert job["spec"]["ttlSecondsAfterFinished"] == 7 * 86400
    assert pod_of(plan)["restartPolicy"] == "Never"


def test_the_pod_has_walls() -> None:
    pod, container = pod_of(make_plan()), container_of(make_plan())

    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(pod)
    assert "env" not in container


def test_the_script_sees_its_folders_alone_and_writes_to_one() -> None:
    plan = make_plan(Previous("dpo-ds-000000", "merge"))

    assert container_of(plan)["args"] == [
        "--dataset", "/dataset", "--base-model", "/base-model", "--output", "/output",
        "--device", "auto", "--merge-first", "/previous", "--beta", "0.3",
    ]  # fmt: skip
    mounted = {
        mount["mountPath"]: (mount["name"], mount.get("subPath"), mount.get("readOnly"))
        for mount in container_of(plan)["volumeMounts"]
    }
    assert mounted == {
        "/tmp": ("tmp", None, None),
        "/dataset": ("claim-1", "datasets/ds-000001", True),
        "/base-model": ("claim-2", "base", True),
        "/output": ("claim-1", "models/dpo-ds-000001", False),
        "/previous": ("claim-1", "models/dpo-ds-000000/adapter", True),
    }
    assert pod_of(plan)["volumes"] == [
        {"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}},
        {"name": "claim-1", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "claim-2", "persistentVolumeClaim": {"claimName": "models"}},
    ]


@pytest.mark.parametrize(
    ("settings", "limits"),
    [
        ({}, None),
        ({"training_memory": "8g"}, {"memory": "8Gi"}),
        ({"training_memory": "512M"}, {"memory": "512Mi"}),
        ({"training_memory": "9k"}, {"memory": "9Ki"}),
        ({"training_memory": "1000000"}, {"memory": "1000000"}),
        ({"training_cpus": 1.5}, {"cpu": "1500m"}),
        ({"training_cpus": 0.0001}, {"cpu": "1m"}),
        ({"training_device": "cuda"}, {"nvidia.com/gpu": "1"}),
        ({"training_device": "cpu"}, None),
        (EVERYTHING, {"memory": "8Gi", "cpu": "1500m", "nvidia.com/gpu": "1"}),
    ],
)
def test_limits_are_what_it_asks_for(
    settings: dict[str, Any], limits: dict[str, str] | None
) -> None:
    resources = container_of(make_plan(**settings)).get("resources")

    assert resources == (limits and {"limits": limits, "requests": limits})


def test_nodes_are_chosen_and_taints_are_borne() -> None:
    pod = pod_of(make_plan(**EVERYTHING))

    assert pod["nodeSelector"] == {"pool": "gpu", "topology.kubernetes.io/zone": "a"}
    assert pod["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "pool", "operator": "Equal", "value": "gpu"},
        {"key": "anything", "operator": "Exists"},
    ]
    assert {"nodeSelector", "tolerations"}.isdisjoint(pod_of(make_plan()))


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("training", ":HASH"),
        ("registry.example:5000/training", ":HASH"),
        ("registry.example/training:1.2", ""),
        ("registry.example/training@sha256:" + 64 * "0", ""),
    ],
)
def test_an_image_without_a_version_is_that_of_this_build_context(image: str, version: str) -> None:
    plan = make_plan()

    assert image_reference(plan, image) == image + version.replace("HASH", plan.context.hash)


def test_the_nearest_claim_holds_a_folder() -> None:
    outer, inner = Claim("outer", Path("/data")), Claim("inner", Path("/data/models"))

    assert claim_of(Path("/data/models/x"), [outer, inner]) is inner
    assert claim_of(Path("/data/modelsx"), [outer, inner]) is outer
    assert claim_of(Path("/data"), [outer, inner]) is outer
    for folder in ("/dat", "/", "/data/../etc"):
        with pytest.raises(InvalidSettings, match=f"no claim holds {folder}, which"):
            claim_of(Path(folder), [outer, inner])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kubernetes_image": None}, "kubernetes-image is not set"),
        ({"kubernetes_claims": "data"}, "kubernetes-claims: data is not of the form CLAIM=/FOLDER"),
        ({"kubernetes_claims": "data=relative"}, "kubernetes-claims: data=relative"),
        ({"kubernetes_claims": "../x=/data"}, "kubernetes-claims: "),
        ({"kubernetes_claims": "data=/a,data=/b"}, "a claim is named twice"),
        ({"kubernetes_node_selector": "pool"}, "kubernetes-node-selector: pool is not"),
        ({"kubernetes_node_selector": "po ol=x"}, "kubernetes-node-selector: po ol=x is not"),
        ({"kubernetes_tolerations": "a=b:Never"}, "kubernetes-tolerations: a=b:Never is not"),
    ],
)
def test_settings_that_say_nothing_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        placement(make_plan(**settings).settings)


def test_folders_that_no_claim_holds_are_told_at_the_start() -> None:
    settings = make_plan().settings

    check_placement(settings, [Path("/data"), Path("/models/base")])
    with pytest.raises(InvalidSettings, match="no claim holds /srv/models/base"):
        check_placement(settings, [Path("/data"), Path("/srv/models/base")])
