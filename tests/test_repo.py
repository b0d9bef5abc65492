"""What holds the repository together: who imports whom, what is heavy, what is pinned twice."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICE = ("schemas", "streams", "trainer", "pairstream")
OURS = {*SERVICE, "pairstream_client", "tests", "examples", "benchmarks"}

# Each may import these of ours, besides itself.
ARROWS = {
    "schemas": set[str](),
    "streams": {"schemas"},
    "trainer": {"schemas"},
    # Of the client `spool` alone, where it is installed.
    "pairstream": {"schemas", "streams", "trainer", "pairstream_client"},
    "client/pairstream_client": set[str](),
    # They run where nothing of ours is installed.
    "trainer/train_dpo": set[str](),
    "trainer/supervise.py": set[str](),
    "streams/garbler_child.py": set[str](),
}


def sources(path: str) -> list[Path]:
    place = ROOT / path
    found = [place] if place.suffix == ".py" else sorted(place.rglob("*.py"))
    assert found, f"{path} holds no module"
    return found


def imported(source: Path) -> Iterator[str]:
    """Top-level names, wherever in the module they are imported."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0] if not node.level else source.parent.name


@pytest.mark.parametrize("path", ARROWS)
def test_imports_point_one_way(path: str) -> None:
    allowed = ARROWS[path] if path.endswith(".py") else ARROWS[path] | {Path(path).name}
    wrong = {
        f"{source.relative_to(ROOT)} imports {name}"
        for source in sources(path)
        for name in imported(source)
        if name in OURS - allowed
    }

    assert wrong == set()


def test_folder_of_the_image_does_not_shadow_the_docker_sdk() -> None:
    assert (ROOT / "docker").is_dir()
    assert list((ROOT / "docker").rglob("__init__.py")) == []


IMPORT_ALL = """
import importlib, json, sys
for module in json.loads(sys.argv[1]):
    importlib.import_module(module)
print(sorted({"torch", "transformers", "trl", "datasets", "pytest"} & sys.modules.keys()))
"""


def test_every_module_imports_without_what_trains() -> None:
    """The service is installed without the `train` extra, and help must come at once."""
    modules = [
        ".".join(source.relative_to(ROOT).with_suffix("").parts)
        for package in SERVICE
        for source in sources(package)
    ]
    names = str(modules).replace("'", '"')
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, names], cwd=ROOT, capture_output=True, text=True
    )

    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def pins(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition("==") for line in lines if "==" in line and line[0] != "#")
    return {name.strip().lower().replace("-", "_"): version.strip() for name, _, version in pairs}


def test_trainings_run_on_the_same_versions_in_a_process_as_in_the_image() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = pins(project["optional-dependencies"]["train"])
    image = pins((ROOT / "docker/training/requirements.txt").read_text().splitlines())

    assert len(extra) == len(project["optional-dependencies"]["train"])
    assert extra.keys() <= image.keys()
    assert {name: image[name] for name in extra} == extra
