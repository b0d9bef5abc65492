"""The example in TypeScript: its types are made, it compiles, and its run gives its pairs.

What npm installs is kept in a cache folder, by the versions that are named.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.topics import RUN_EVENTS
from tests.commands.deployment import Deployment, parsed_pairs, proposed
from tests.conftest import missing

EXAMPLE = Path(__file__).parents[2] / "examples" / "typescript"
CACHE = Path.home() / ".cache" / "pairstream-tests"
SECONDS = 200.0


@pytest.fixture
def deployment(embedded_broker: str, prefix: str, tmp_path: Path) -> Deployment:
    return Deployment(embedded_broker, prefix, tmp_path / "data")


@pytest.fixture(scope="module")
def installed() -> Path:
    """A copy of the example with what it needs."""
    if shutil.which("npm") is None:
        missing("needs Node.js 20 and npm")
    named = (EXAMPLE / "package.json").read_bytes()
    folder = CACHE / f"typescript-{hashlib.sha256(named).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(EXAMPLE / "package.json", folder)
    if not (folder / "installed").exists():
        run(folder, "npm", "install", "--no-audit", "--no-fund", "--no-package-lock")
        (folder / "installed").touch()
    for name in ("tsconfig.json", "src"):
        source, target = EXAMPLE / name, folder / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return folder


def run(folder: Path, *command: str, env: dict[str, str] | None = None) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, **(env or {})},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.mark.node
def test_run_of_an_agent_in_typescript_gives_its_pairs(
    installed: Path, deployment: Deployment
) -> None:
    run(installed, "npm", "run", "types")
    run(installed, "npm", "run", "build")
    printed = run(installed, "npm", "start", env=deployment.env)

    run_id = printed.split()[-1]
    records = deployment.records(deployment.names.topic(RUN_EVENTS))
    types = [json.loads(record.value())["type"] for record in records]
    assert types == ["run.started", "strategy.proposed", *["code.attempted"] * 3, "run.finished"]
    deployment.settle()
    pairs = parsed_pairs(deployment)
    assert [(pair.rule, pair.chosen_attempt) for pair in pairs] == [("mixed_code", 3)] * 2
    assert deployment.records(deployment.names.dead_letters(RUN_EVENTS)) == []
    # Python's client puts the same run on the same partition.
    [(partition, _)] = deployment.say(proposed(run_id))
    assert {record.partition() for record in records} == {partition}
