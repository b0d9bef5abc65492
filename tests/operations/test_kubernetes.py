"""The manifests are what Kubernetes' own schemas allow, and fit the service that they run."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pairstream.__main__ import COMMANDS
from pairstream.http_server import handler_of
from schemas.settings import TopicSettings, TrainerSettings, WorkerSettings, convert, known_settings
from streams.vitals import WorkerVitals
from streams.worker import STOP_SECONDS

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())

# The oldest and the newest that are promised.
VERSIONS = ("1.30", "1.33")

Manifest = dict[str, Any]


def manifests() -> list[Manifest]:
    return [
        manifest
        for name in KUSTOMIZATION["resources"]
        for manifest in yaml.safe_load_all((FOLDER / name).read_text())
    ]


def named(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def pods() -> Iterator[tuple[Manifest, Manifest]]:
    """What makes pods, and their specification."""
    for manifest in manifests():
        if manifest["kind"] in ("StatefulSet", "Deployment", "Job"):
            yield manifest, manifest["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", manifests(), ids=named)
def test_manifests_are_what_the_schemas_allow(manifest: Manifest, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_manifest_that_is_misspelt_is_found() -> None:
    [(manifest, spec)] = [each for each in pods() if each[0]["kind"] == "StatefulSet"]
    spec["containers"][0]["livenesProbe"] = {}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[0], strict=True)


def test_all_stand_in_one_namespace_and_names_are_taken_once() -> None:
    names = [named(manifest) for manifest in manifests()]

    assert len(names) == len(set(names))
    assert {each["metadata"]["namespace"] for each in manifests()} == {KUSTOMIZATION["namespace"]}


def test_pods_are_without_rights() -> None:
    for manifest, spec in pods():
        assert spec["securityContext"]["runAsNonRoot"] is True, named(manifest)
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_services_are_no_settings() -> None:
    """By default every pod gets PAIRSTREAM_UI_SERVICE_HOST and more, for a Service pairstream-ui:
    a misspelt setting, with which nothing starts.
    """
    for manifest, spec in pods():
        assert spec.get("enableServiceLinks") is False, named(manifest)


def test_probes_ask_what_is_served() -> None:
    served = handler_of(WorkerVitals(WorkerSettings())).answers  # type: ignore[attr-defined]
    probes = 0
    for _, spec in pods():
        for container in spec["containers"]:
            ports = {port["name"] for port in container.get("ports", [])}
            for name in ("startupProbe", "livenessProbe", "readinessProbe"):
                probe = container.get(name, {})
                if get := probe.get("httpGet"):
                    probes += 1
                    assert get["path"] in served
                    assert get["port"] in ports
                    assert probe.get("timeoutSeconds", 1) > 1 or get["path"] == "/livez"

    assert probes == 6


def test_settings_are_settings() -> None:
    [shared] = [each["data"] for each in manifests() if each["kind"] == "ConfigMap"]
    for manifest, spec in pods():
        own = {
            each["name"]: each.get("value", "x") for each in spec["containers"][0].get("env", [])
        }
        given = {
            name.removeprefix("PAIRSTREAM_").lower(): value
            for name, value in {**shared, **own}.items()
        }
        assert given.keys() <= known_settings(), named(manifest)
        for cls in (TopicSettings, WorkerSettings, TrainerSettings):
            fields = {name: given[name] for name in given if name in cls.__struct_fields__}
            assert convert(fields, cls)


def test_commands_are_commands_of_our_image() -> None:
    [image] = KUSTOMIZATION["images"]
    first = set()
    for _, spec in pods():
        for container in spec["containers"]:
            assert container["image"] == image["name"]
            first.add(container["args"][0])

    assert first >= {"worker", "trainer", "topics"}
    assert first <= set(COMMANDS)


def test_the_image_has_what_trains_in_jobs() -> None:
    dockerfile = (FOLDER.parents[1] / "docker" / "app" / "Dockerfile").read_text()
    [extras] = re.findall(r"\.whl\)\[([a-z,]+)\]", dockerfile)

    assert "kubernetes" in extras.split(",")


def test_a_worker_is_known_by_its_pod_and_may_stop_in_peace() -> None:
    [(manifest, spec)] = [each for each in pods() if each[0]["kind"] == "StatefulSet"]
    [container] = spec["containers"]
    [instance] = [e for e in container["env"] if e["name"] == "PAIRSTREAM_GROUP_INSTANCE_ID"]

    assert instance["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert spec["terminationGracePeriodSeconds"] > STOP_SECONDS
    [shared] = [each["data"] for each in manifests() if each["kind"] == "ConfigMap"]
    assert manifest["spec"]["replicas"] <= int(shared["PAIRSTREAM_PARTITIONS"])


def test_there_is_one_trainer_at_a_time() -> None:
    [(manifest, _)] = [each for each in pods() if named(each[0]) == "Deployment/pairstream-trainer"]

    assert manifest["spec"]["replicas"] == 1
    assert manifest["spec"]["strategy"] == {"type": "Recreate"}


def test_claims_that_are_mounted_are_made() -> None:
    made = {e["metadata"]["name"] for e in manifests() if e["kind"] == "PersistentVolumeClaim"}
    mounted = {
        volume["persistentVolumeClaim"]["claimName"]
        for _, spec in pods()
        for volume in spec.get("volumes", [])
        if "persistentVolumeClaim" in volume
    }

    assert mounted == made
