"""The training image for real: a dataset trains in its container, twice to the same figures."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient

from tests.conftest import Pairstream
from tests.containers.conftest import MakePlan
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import publish
from trainer.docker_launcher import LABEL_TRAINING, DockerLauncher
from trainer.image import ENV_FILE, training_context

pytestmark = [pytest.mark.docker, pytest.mark.training, pytest.mark.timeout(900)]

BUILD_SECONDS = 800.0


def logs(model: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (model / "metrics.jsonl").read_text().splitlines()]


def test_a_dataset_trains_in_the_container_twice_to_the_same_losses(
    docker_engine: DockerClient, pairstream: Pairstream, tiny_model: Path, tmp_path: Path
) -> None:
    publish(tmp_path / "data", make_pairs(9))
    dataset = tmp_path / "data" / "datasets" / "ds-000001"
    settings = {
        "PAIRSTREAM_DATA_DIR": "data",
        "PAIRSTREAM_BASE_MODEL": str(tiny_model),
        "PAIRSTREAM_TRAINING_ARGS": (
            "--max-steps 3 --gradient-accumulation 2 --learning-rate 1e-3 --sft-weight 0"
        ),
    }

    for _ in range(2):
        pairstream("train", dataset, env=settings, timeout=BUILD_SECONDS)

    models = tmp_path / "data" / "models"
    first, second = models / "dpo-ds-000001", models / "dpo-ds-000001-2"
    steps = [entry for entry in logs(first) if "loss" in entry]
    assert float(steps[0]["rewards/margins"]) == 0.0
    assert math.isclose(float(steps[0]["loss"]), math.log(2), rel_tol=0.01)
    assert [entry["loss"] for entry in steps] == [
        entry["loss"] for entry in logs(second) if "loss" in entry
    ]
    assert len(steps) == 3
    _check_manifest(first, dataset, docker_engine)
    _check_archive(first)
    _check_adapter(first, tiny_model)
    assert _containers_that_see(tmp_path, docker_engine) == []


def _check_manifest(model: Path, dataset: Path, engine: DockerClient) -> None:
    manifest = json.loads((model / "manifest.json").read_text())
    assert manifest["exit_code"] == 0
    assert manifest["launcher"] == "docker"
    assert engine.images.get(manifest["image_tag"]).id == manifest["image"]
    assert manifest["figures"]["versions"]["python"].startswith("3.10.")
    assert manifest["figures"]["parameters"]["quantized"] > 0
    for name, digest in manifest["dataset_sha256"].items():
        assert hashlib.sha256((dataset / name).read_bytes()).hexdigest() == digest
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((model / name).read_bytes()).hexdigest() == digest


def _check_archive(model: Path) -> None:
    archive = model.with_name(f"{model.name}.tar.gz")
    digest, name = archive.with_name(archive.name + ".sha256").read_text().split()
    assert name == archive.name
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == digest


def _check_adapter(model: Path, base_model: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(str(base_model), local_files_only=True)
    adapted = PeftModel.from_pretrained(base, str(model / "adapter"))
    assert adapted.peft_config["default"].r == 16
    assert AutoTokenizer.from_pretrained(str(model / "adapter")).chat_template


def _containers_that_see(folder: Path, engine: DockerClient) -> list[str]:
    found = engine.containers.list(all=True, filters={"label": LABEL_TRAINING})
    return [
        str(container.name)
        for container in found
        for mount in container.attrs["Mounts"]
        if mount["Source"].startswith(str(folder))
    ]


def test_the_image_can_be_built_by_hand_from_the_trainings_folder(
    docker_engine: DockerClient, make_plan: MakePlan, tmp_path: Path
) -> None:
    context = training_context()
    ours = DockerLauncher().prepare(make_plan(context=context), lambda _: None)
    folder = tmp_path / "context"
    context.write(folder)
    variables = dict(line.split("=", 1) for line in (folder / ENV_FILE).read_text().splitlines())
    label, _, value = variables["PAIRSTREAM_TRAINING_IMAGE_LABEL"].partition("=")

    by_hand, _ = docker_engine.images.build(
        path=str(folder), tag="by-hand", network_mode="host", rm=True, labels={label: value}
    )

    assert variables["PAIRSTREAM_TRAINING_IMAGE"] == context.tag
    assert by_hand.attrs["RootFS"] == docker_engine.images.get(ours).attrs["RootFS"]
    docker_engine.images.remove("by-hand")
