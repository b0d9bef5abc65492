"""What the training needs of its container, read from the recipe and from the launcher's plan."""

import re
from pathlib import Path

import pytest

from schemas.settings import TrainingSettings
from trainer.docker_launcher import container_spec
from trainer.image import training_context
from trainer.launcher import Plan


@pytest.fixture
def dockerfile() -> str:
    return training_context().files["Dockerfile"].decode()


def instructions(dockerfile: str) -> list[str]:
    """One string for each instruction: comments gone, continued lines joined."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]


def test_image_has_a_compiler_for_triton(dockerfile: str) -> None:
    installed = " ".join(line for line in instructions(dockerfile) if "apt-get install" in line)
    assert {"gcc", "libc6-dev"} <= set(installed.split())


def test_image_needs_nothing_that_the_classic_builder_lacks(dockerfile: str) -> None:
    """Docker's SDK speaks to the classic builder: no mounts, no flags of COPY, no heredocs."""
    known = {"FROM", "RUN", "COPY", "ENV", "USER", "ENTRYPOINT"}
    for line in instructions(dockerfile):
        instruction, _, rest = line.partition(" ")
        assert instruction in known
        assert not rest.lstrip().startswith("--")
        assert "<<" not in rest
    assert "syntax=" not in dockerfile.splitlines()[0]


def test_image_is_offline_and_writes_to_the_scratch_folder_only(dockerfile: str) -> None:
    variables = dict(re.findall(r"([A-Z_]+)=(\S+)", " ".join(instructions(dockerfile))))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        assert variables[name] == "1"
    folders = ("HF_HOME", "HF_DATASETS_CACHE", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    for name in ("HOME", *folders):
        assert Path(variables[name]).is_relative_to("/tmp")


def test_image_pins_every_requirement() -> None:
    lines = training_context().files["requirements.txt"].decode().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z_0-9]+==[0-9.]+", pin) for pin in pins)
    assert "trl==1.14.2" in pins, "the last release for Python 3.10, on which the image stands"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        training_id="dpo-ds-000001",
        directory_id="d1",
        dataset=tmp_path / "dataset",
        base_model=tmp_path / "base",
        folder=tmp_path / "output",
        arguments=["--base-model-name", "base"],
        settings=TrainingSettings(),
        context=training_context(),
    )


def test_container_may_load_what_triton_compiles(plan: Plan) -> None:
    """A tmpfs of Docker is noexec unless it says otherwise, and the rest is read-only."""
    spec = container_spec(plan, gpu=True, user="1000:1000")
    options = spec["tmpfs"]["/tmp"].split(",")
    assert spec["read_only"]
    assert "exec" in options
    assert "noexec" not in options


def test_container_gets_one_gpu_and_no_network(plan: Plan) -> None:
    spec = container_spec(plan, gpu=True, user="1000:1000")
    assert spec["network_mode"] == "none"
    assert [request["Count"] for request in spec["device_requests"]] == [1]
    assert "device_requests" not in container_spec(plan, gpu=False, user="1000:1000")
