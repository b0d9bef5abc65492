"""The wheel installs alone, and carries what commands need beside the code."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    [built] = folder.glob("pairstream-*.whl")
    return built


def run(*command: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_carries_the_image_the_agent_and_the_examples_and_no_leftovers(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    for name in (
        "trainer/training_image/Dockerfile",
        "trainer/training_image/requirements.txt",
        "trainer/train_dpo/__main__.py",
        "trainer/train_dpo/command.py",
        "pairstream/free_space_agent/__main__.py",
        "pairstream/free_space_agent/pool.md",
        "schemas/examples/pairstream.pairs.v1/mixed_code.json",
        "schemas/py.typed",
    ):
        assert name in names
    assert not [name for name in names if "cache" in name]
    tops = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"schemas", "streams", "trainer", "pairstream"}


def test_wheel_installs_alone_and_its_commands_run(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    binaries = tmp_path / "venv" / "bin"
    run(binaries / "pip", "install", "--quiet", wheel)

    assert "demo" in run(binaries / "pairstream", "--help")
    assert "run.started" in run(binaries / "pairstream", "schema")
    python = binaries / "python"
    run(python, "-c", "import streams.worker, trainer.service, pairstream.rebuild")
    tag = "from trainer.image import training_context; print(training_context().tag)"
    assert run(python, "-c", tag) == run(sys.executable, "-c", tag)
