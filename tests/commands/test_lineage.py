"""`pairstream explain MODEL`: down to the runs; and the models that came of a run."""

import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from pairstream.__main__ import cli
from pairstream.lineage import ModelOfRun, find_training, models_of_run, read_lineage
from schemas.errors import PairstreamError
from tests.commands.deployment import NOW, Deployment, mixed_run, write_ended_training
from tests.trainer.made_pairs import pairs_of
from tests.trainer.stand_in import publish
from trainer.datasets import read_manifest
from trainer.latest import promote_by_gate
from trainer.launcher import Previous
from trainer.layout import DataDir
from trainer.made_by import MadeBy, made_by
from trainer.training_manifest import read_training, write_training

FIRST, SECOND, THIRD = "dpo-ds-000001", "dpo-ds-000002", "dpo-ds-000002-2"

ARGUMENTS = ["--beta", "0.3", "--seed", "7"]
REVISION = "5ea" * 13 + "d"


def make_training(
    data: DataDir, training_id: str, dataset: str, *, days: int, previous: str | None = None,
    exit_code: int = 0,
) -> None:  # fmt: skip
    write_ended_training(data, training_id, dataset, exit_code=exit_code, why="no memory")
    folder = data.models / training_id
    ended = read_training(folder)
    assert ended is not None
    files = read_manifest(data.datasets / dataset).files
    write_training(
        folder,
        replace(
            ended,
            dataset_sha256={name: entry.sha256 for name, entry in files.items()},
            started_at=NOW + timedelta(days=days),
            arguments=ARGUMENTS,
            figures={"arguments": {"seed": 7}, "device": "cpu", "versions": {"trl": "1.14.2"}},
            previous=Previous(previous, "merge") if previous else None,
            made_by=MadeBy("0.1.0", REVISION, changed=True),
        ),
    )


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """Two datasets; the second training begins with the first one's adapter, the third failed."""
    root = tmp_path / "data"
    runs = {"r-1": True, "r-2": True, "r-3": False}
    pairs = [pair for run, mixed in runs.items() for pair in pairs_of(run, mixed=mixed)]
    publish(root, [replace(pair, policy_id="base") for pair in pairs], eval_fraction=0.0)
    publish(root, pairs_of("r-4", mixed=True), first=100, eval_fraction=0.0)
    data = DataDir(root)
    make_training(data, FIRST, "ds-000001", days=0)
    make_training(data, SECOND, "ds-000002", days=1, previous=FIRST)
    make_training(data, THIRD, "ds-000002", days=2, exit_code=12)
    promote_by_gate(data.models, SECOND, "passed")
    return data


def explain(data: DataDir, *words: str) -> str:
    """With no broker."""
    env = {"PAIRSTREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1", "PAIRSTREAM_DATA_DIR": str(data.root)}
    done = CliRunner().invoke(cli, ["explain", *words], env=env, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_a_model_is_traced_to_its_pairs_and_runs(data: DataDir) -> None:
    found: dict[str, Any] = json.loads(explain(data, FIRST, "--json"))

    trained_on = found["lies_here"]["trained_on"]
    assert trained_on == {
        "pairs": 4,
        "rules": {"mixed_code": 2, "first_time_code": 1, "first_time_strategy": 1},
        "agents": {"a": 4},
        "policies": {"base": 4},
        "runs": {"r-3": 2, "r-1": 1, "r-2": 1},
    }
    assert found["lies_here"]["held_out"]["pairs"] == 0
    assert found["lies_here"]["topic"] == "pairs"
    assert (found["dataset"], found["base_model"], found["seed"]) == ("ds-000001", "tiny", 7)
    assert found["arguments"] == ARGUMENTS
    assert found["made_by"] == {"version": "0.1.0", "revision": REVISION, "changed": True}
    assert set(found["dataset_sha256"]) == {"train.jsonl", "eval.jsonl"}
    assert (found["rounds"], found["is_latest"]) == ([], False)


def test_a_model_tells_the_rounds_that_it_stands_on(data: DataDir) -> None:
    text = explain(data, "latest")

    assert f"model          {SECOND} (latest): never judged" in text
    assert f"earlier round  {FIRST} (merge), on ds-000001" in text
    assert f"pairstream     0.1.0, revision {REVISION} and changes" in text
    assert "trained on: 1 pair of 1 run" in text
    assert "  policies  (none) 1" in text
    assert "versions       trl 1.14.2" in text
    (data.models / FIRST / "manifest.json").unlink()
    assert read_lineage(data, SECOND).rounds[0].dataset is None


def test_a_training_that_failed_tells_why(data: DataDir) -> None:
    assert f"{THIRD}: failed: no memory" in explain(data, THIRD)


def test_a_dataset_of_the_same_name_with_other_pairs_is_not_taken_for_it(data: DataDir) -> None:
    manifest = read_training(data.models / FIRST)
    assert manifest is not None
    write_training(data.models / FIRST, replace(manifest, dataset_sha256={"train.jsonl": "0" * 64}))

    assert read_lineage(data, FIRST).lies_here is None
    assert "it lies elsewhere: its pairs and runs are not known here" in explain(data, FIRST)


def test_many_runs_are_cut_short_unless_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "data"
    publish(root, [pair for n in range(14) for pair in pairs_of(f"r-{n:02}", mixed=True)],
            eval_fraction=0.0)  # fmt: skip
    data = DataDir(root)
    make_training(data, FIRST, "ds-000001", days=0)

    assert "r-09 1 and 4 more (--full)" in explain(data, FIRST)
    assert "r-13 1\n" in explain(data, FIRST, "--full")


@pytest.mark.parametrize("name", ["r-1", "../models/dpo-ds-000001", "", ".", "latest/"])
def test_a_runs_id_is_no_path_to_a_model(data: DataDir, name: str) -> None:
    assert find_training(data, name) is None


def test_latest_where_there_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(PairstreamError, match="is the latest yet"):
        find_training(DataDir(tmp_path), "latest")


# --- The other way -------------------------------------------------------------------------------


def test_models_of_a_run_are_those_trained_on_it_and_what_stands_on_them(data: DataDir) -> None:
    assert models_of_run(data, {"ds-000001": 2}) == [
        ModelOfRun(training_id=FIRST, dataset="ds-000001", pairs=2, through=None, is_latest=False),
        ModelOfRun(training_id=SECOND, dataset="ds-000002", pairs=None, through=FIRST,
                   is_latest=True),
    ]  # fmt: skip
    assert [model.training_id for model in models_of_run(data, {"ds-000002": 1})] == [SECOND]
    assert models_of_run(data, {}) == []


def test_a_run_tells_all_models_that_its_pairs_are_in(deployment: Deployment) -> None:
    deployment.say(*mixed_run("r-1"))
    deployment.settle()
    deployment.take_in()
    first = deployment.cut()
    deployment.say(*mixed_run("r-2"))
    deployment.settle()
    deployment.take_in()
    deployment.cut(first)
    make_training(deployment.data, FIRST, "ds-000001", days=0)
    make_training(deployment.data, SECOND, "ds-000002", days=1, previous=FIRST)

    told = deployment.run_json("explain", "r-1")["models"]
    text = deployment.run("explain", "r-1")

    assert [(each["training_id"], each["pairs"], each["through"]) for each in told] == [
        (FIRST, 1, None), (SECOND, None, FIRST)
    ]  # fmt: skip
    assert f"  {FIRST}  trained on 1 pair of it, in ds-000001" in text
    assert f"  {SECOND}  began with the adapter of {FIRST}" in text
    assert [m["training_id"] for m in deployment.run_json("explain", "r-2")["models"]] == [SECOND]
    assert deployment.run_json("explain", FIRST)["training_id"] == FIRST
    with pytest.raises(PairstreamError, match="nothing is known of the run"):
        deployment.run("explain", FIRST, "--run")


# --- The revision --------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
    done = subprocess.run(["git", "-C", str(folder), *names, *words], check=True,
                          capture_output=True, text=True)  # fmt: skip
    return done.stdout.strip()


def test_a_checkout_tells_its_revision_and_whether_it_holds_more(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "first")
    revision = git(tmp_path, "rev-parse", "HEAD")

    clean = made_by(tmp_path)
    (tmp_path / "file").write_text("2")
    changed = made_by(tmp_path)

    assert (clean.revision, clean.changed) == (revision, False)
    assert (changed.revision, changed.changed) == (revision, True)
    assert clean.told == f"{clean.version}, revision {revision}"
    assert changed.told == f"{clean.version}, revision {revision} and changes"


def test_a_package_in_somebody_elses_repository_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "site-packages").mkdir()

    found = made_by(tmp_path / "site-packages")

    assert (found.revision, found.told) == (None, found.version)


def test_without_git_there_is_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert made_by(tmp_path).revision is None
