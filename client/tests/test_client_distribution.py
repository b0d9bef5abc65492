"""The client's wheel installs alone."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

import pairstream_client

PROJECT = Path(pairstream_client.__file__).parents[1]

INSPECT = """
import importlib.metadata, importlib.util
import pairstream_client
names = {d.metadata["Name"] for d in importlib.metadata.distributions()} - {"pip", "setuptools"}
others = [n for n in ("schemas", "streams", "trainer", "pairstream") if importlib.util.find_spec(n)]
print(sorted(names), others, pairstream_client.RunRecorder.__module__)
"""


def _run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_wheel_installs_alone_and_brings_confluent_kafka_only(tmp_path: Path) -> None:
    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
    environment = tmp_path / "environment"
    python = environment / "bin" / "python"

    _run(sys.executable, *pip, "wheel", "--no-deps", "-w", tmp_path, PROJECT, folder=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(environment, with_pip=True)
    _run(python, *pip, "install", wheel, folder=tmp_path)

    expected = "['confluent-kafka', 'pairstream-client'] [] pairstream_client.recorder\n"
    assert _run(python, "-I", "-c", INSPECT, folder=tmp_path) == expected
