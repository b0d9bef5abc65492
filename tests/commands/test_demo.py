"""The demo, from its agent to an archived model, with the training in a process."""

import hashlib
import importlib.util
import json
from pathlib import Path

import pytest

from tests.conftest import Pairstream, missing

pytestmark = pytest.mark.long


@pytest.mark.training
@pytest.mark.timeout(600)
def test_demo_ends_with_a_dataset_a_model_and_an_archive(
    pairstream: Pairstream, tmp_path: Path
) -> None:
    if importlib.util.find_spec("trl") is None:
        missing("needs TRL: pip install -e .[train]")

    done = pairstream(
        "demo", "--launcher", "process", "--runs", "6", "--trigger-pairs", "5", "--data-dir", ".",
        timeout=550,
    )  # fmt: skip

    [folder] = tmp_path.glob("demo-*")
    assert "threshold reached: ds-000001" in done.stdout
    assert "step 1/" in done.stdout
    manifest = json.loads((folder / "datasets" / "ds-000001" / "manifest.json").read_text())
    assert manifest["pairs"] >= 5
    model = folder / "models" / "dpo-ds-000001"
    assert (model / "adapter" / "adapter_model.safetensors").is_file()
    assert (folder / "models" / "latest").resolve() == model.resolve()
    archive = folder / "models" / "dpo-ds-000001.tar.gz"
    digest, name = archive.with_name(archive.name + ".sha256").read_text().split()
    assert name == archive.name
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == digest
    assert str(archive) in done.stdout
    story = (folder / "story.log").read_text()
    assert story.count(" settled: ") == 6
    assert "discarded, " in story


def test_demo_says_which_part_failed_and_where_its_log_is(
    pairstream: Pairstream, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")

    done = pairstream(
        "demo", "--launcher", "process", "--model", tmp_path, "--data-dir", "away",
        env={"PYTHONPATH": str(_broken_client(tmp_path))}, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr.startswith("pairstream: the agent ended (exit code 1): see ")
    assert "agent.log" in done.stderr


def _broken_client(folder: Path) -> Path:
    """A pairstream_client that cannot be used, found before the installed one."""
    package = folder / "path" / "pairstream_client"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('broken')\n")
    return package.parent
