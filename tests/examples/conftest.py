"""The example agent's folder is no package: its modules are found as they are when it runs."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

AGENT_FOLDER = Path(__file__).parents[2] / "examples" / "free_space_agent"
sys.path.append(str(AGENT_FOLDER))

from disk_tasks import Task, make_task  # noqa: E402
from fenced_run import ORDINARY_LIMITS, Limits, Ran, run_fenced  # noqa: E402

Fenced = Callable[..., Ran]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """An empty folder for programs to work in."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def fenced(scratch: Path) -> Fenced:
    """Run a program in `scratch` behind the fence: `fenced("print(1)", limits=Limits(...))`."""

    def run(program: str, *, limits: Limits = ORDINARY_LIMITS) -> Ran:
        return run_fenced(program, scratch, limits)

    return run


@pytest.fixture(scope="session")
def task() -> Task:
    return make_task(0)
