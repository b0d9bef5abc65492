"""The examples for agents' frameworks, each in a virtual environment of its own with the versions
that it names, against the embedded broker: the pairs of its run are in the topic.

The environments are kept in a cache folder, by what they hold, so only the first run makes them.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from schemas.topics import PAIRS, RUN_OUTCOMES
from tests.commands.deployment import Deployment, parsed_pairs
from tests.conftest import Pairstream

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
BRANCHING = Path(__file__).with_name("branching_graph.py")
CACHE = Path.home() / ".cache" / "pairstream-tests"

MAKE_SECONDS = 240.0
RUN_SECONDS = 120.0

FRAMEWORKS = ["openai_agents", "smolagents", "langgraph"]


def environment(name: str) -> Path:
    """The interpreter that has what the example requires; renamed into place when it is whole."""
    required = (EXAMPLES / name / "requirements.txt").read_bytes()
    digest = hashlib.sha256(sys.version.encode() + required).hexdigest()[:16]
    folder = CACHE / f"{name}-{digest}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=CACHE))
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        wanted = ["-r", str(EXAMPLES / name / "requirements.txt")]
        try:
            _run(sys.executable, "-m", "venv", str(making))
            _run(str(making / "bin" / "python"), *install, *wanted)
            making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return folder / "bin" / "python"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]


def run_example(agent: Path, python: str | Path, deployment: Deployment) -> str:
    """What it prints. Of ours it sees the client library alone."""
    keep = {each: os.environ[each] for each in ("PATH", "HOME") if each in os.environ}
    done = subprocess.run(
        [str(python), str(agent)],
        env={**keep, **deployment.env, "PYTHONPATH": str(ROOT / "client")},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def deployment(embedded_broker: str, prefix: str, tmp_path: Path) -> Deployment:
    return Deployment(embedded_broker, prefix, tmp_path / "data")


@pytest.mark.frameworks
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_run_of_a_framework_s_agent_gives_its_pairs(name: str, deployment: Deployment) -> None:
    printed = run_example(EXAMPLES / name, environment(name), deployment)

    assert "338350" in printed
    deployment.settle()
    pairs = parsed_pairs(deployment)
    assert [(pair.rule, pair.chosen_attempt, pair.chosen_score) for pair in pairs] == [
        ("mixed_code", 3, 1.0),
        ("mixed_code", 3, 1.0),
    ]
    assert {pair.rejected_attempt for pair in pairs} == {1, 2}
    assert pairs[0].prompt[0].content == "Add up the squares from 1 to 100."
    assert pairs[0].agent_id == "squares"


@pytest.mark.frameworks
def test_nodes_side_by_side_in_a_graph_keep_their_own_words(deployment: Deployment) -> None:
    run_example(BRANCHING, environment("langgraph"), deployment)

    deployment.settle()
    pairs = parsed_pairs(deployment)
    assert {
        (pair.prompt[0].content, pair.chosen[0].content, pair.rejected[0].content)
        for pair in pairs
    } == {("Plan a.", "right_a", "wrong_a"), ("Plan b.", "right_b", "wrong_b")}  # fmt: skip


def test_agent_in_plain_python_reports_by_hand_by_decorator_and_asynchronously(
    deployment: Deployment, pairstream: Pairstream
) -> None:
    printed = run_example(EXAMPLES / "plain_python", sys.executable, deployment)

    deployment.settle()
    assert len(deployment.records(deployment.names.topic(RUN_OUTCOMES))) == 4
    assert len(deployment.records(deployment.names.topic(PAIRS))) == 8
    agents = {pair.agent_id for pair in parsed_pairs(deployment)}
    assert agents == {"by-hand", "by-decorator", "asynchronous"}
    run_id = printed.split()[0]
    assert "mixed_code" in pairstream("explain", run_id, env=deployment.env).stdout
