"""What `pairstream train` refuses, each with one line and nothing half written; what it tells."""

import shlex
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from pairstream import train_now
from pairstream.__main__ import cli
from schemas.errors import PairstreamError
from schemas.rows import ScoredRow, assistant_message, row_id, user_message
from tests.commands.deployment import Deployment
from tests.conftest import Pairstream
from tests.trainer.judged import BASE, BETTER, GOOD, PASSING, REFUSED
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import SOURCE, make_base_model, publish, stand_in_context
from tests.trainer.told import told_steps
from trainer import cut, training
from trainer.datasets import DatasetManifest
from trainer.latest import read_latest
from trainer.layout import DataDir
from trainer.selection import CutSettings
from trainer.source import open_source
from trainer.training import TrainingRequest
from trainer.training_manifest import read_training
from trainer.unpaired import labelled_line, write_labelled

pytestmark = pytest.mark.long


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return publish(tmp_path / "data", make_pairs(6)).datasets / "ds-000001"


def refused(done: object, *words: str) -> None:
    assert done.returncode == 1  # type: ignore[attr-defined]
    stderr: str = done.stderr  # type: ignore[attr-defined]
    assert stderr.count("\n") == 1, stderr
    for word in words:
        assert word in stderr


def test_dataset_that_is_not_what_its_manifest_says_is_not_trained(
    dataset: Path, pairstream: Pairstream, tiny_model: Path, tmp_path: Path
) -> None:
    train = dataset / "train.jsonl"
    train.chmod(0o644)
    train.write_bytes(train.read_bytes().replace(b"Empty", b"Fill!"))

    done = pairstream(
        "train", dataset, "--launcher", "process", "--base-model", tiny_model,
        "--data-dir", "data", check=False,
    )  # fmt: skip

    refused(done, "train.jsonl is not what its manifest says", "pairstream replay")
    assert not (tmp_path / "data" / "models").exists()


def test_folder_without_a_manifest_is_no_dataset(pairstream: Pairstream, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    refused(pairstream("train", "folder", check=False), "folder is no published dataset")


@pytest.mark.parametrize(
    ("base_model", "words"),
    [
        ("./nothing", "./nothing is not there"),
        (".", "it has no config.json"),
    ],
)
def test_base_model_that_cannot_be_is_named(
    dataset: Path, pairstream: Pairstream, base_model: str, words: str
) -> None:
    flags = ["--launcher", "process", "--base-model", base_model]
    done = pairstream("train", dataset, *flags, check=False)

    refused(done, words)


def test_engine_that_does_not_answer_is_named(
    dataset: Path, pairstream: Pairstream, tiny_model: Path
) -> None:
    done = pairstream(
        "train", dataset, "--base-model", tiny_model, "--data-dir", "data",
        env={"DOCKER_HOST": "tcp://127.0.0.1:1"}, check=False,
    )  # fmt: skip

    refused(done, "no Docker Engine answers", "PAIRSTREAM_LAUNCHER=process")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--training-loss-weights", "1"], "1 for 2 of training-loss-types"),
        (
            ["--training-next-round", "continue", "--training-reference", "model"],
            "with training-next-round=continue it must be adapter",
        ),
        (["--training-beta", "0"], "--training-beta"),
    ],
)
def test_recipe_that_cannot_be_is_wrong_usage_before_anything_is_made(
    dataset: Path, pairstream: Pairstream, tmp_path: Path, flags: list[str], words: str
) -> None:
    done = pairstream("train", dataset, "--data-dir", "data", *flags, check=False)

    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data" / "models").exists()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains with a stand-in for the script, and waits for no broker."""
    monkeypatch.setattr(training, "training_context", stand_in_context)
    monkeypatch.setattr(training, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(train_now, "ANSWER_SECONDS", 0.01)


def trained(
    dataset: Path, env: dict[str, str], *, result: str, flags: tuple[str, ...] = ()
) -> Result:
    root = dataset.parents[2]
    if not (root / "base").exists():
        make_base_model(root / "base")
    arguments = f"--starts {shlex.quote(str(root / 'starts'))} --result {shlex.quote(result)}"
    return CliRunner().invoke(
        cli,
        [
            "train", str(dataset), "--launcher", "process", "--training-python", sys.executable,
            "--base-model", str(root / "base"), "--data-dir", str(root / "data"),
            "--training-args", arguments, *flags,
        ],
        env=env,
        catch_exceptions=False,
    )  # fmt: skip


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(("result", "verdict"), [(PASSING, "promoted"), (REFUSED, "refused")])
def test_the_gates_verdict_is_told_where_a_broker_answers(
    result: str, verdict: str, dataset: Path, deployment: Deployment
) -> None:
    done = trained(dataset, deployment.env, result=result)

    assert done.exit_code == 0
    assert f"dpo-ds-000001: {verdict} (" in done.stdout
    [step] = told_steps(deployment.settings)
    assert (step.training_id, step.step, step.dataset) == ("dpo-ds-000001", verdict, "ds-000001")
    models = DataDir(dataset.parents[1]).models
    assert read_latest(models) == ("dpo-ds-000001" if verdict == "promoted" else None)


@pytest.mark.usefixtures("stand_in")
def test_the_trainer_that_comes_later_knows_the_container_by_its_name(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(dataset.parents[1] / "segments")  # no trainer was here
    directory_ids: list[str] = []

    def keep_id(request: TrainingRequest, *_: object, **__: object) -> None:
        directory_ids.append(request.directory_id)
        raise PairstreamError("it was stopped")

    monkeypatch.setattr(train_now, "run_training", keep_id)
    with pytest.raises(PairstreamError, match="it was stopped"):
        trained(dataset, {}, result=PASSING)
    known = open_source(DataDir(dataset.parents[1]), SOURCE)
    with pytest.raises(PairstreamError, match="it was stopped"):
        trained(dataset, {}, result=PASSING)

    assert directory_ids == [known.id, known.id]


@pytest.mark.usefixtures("stand_in")
def test_without_a_broker_it_trains_and_says_that_nobody_was_told(dataset: Path) -> None:
    done = trained(dataset, {"PAIRSTREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, result=PASSING)

    assert done.exit_code == 0
    assert "not told in the topic of trainings: no broker answers at 127.0.0.1:1" in done.stderr
    assert read_latest(DataDir(dataset.parents[1]).models) == "dpo-ds-000001"


def published_responses(folder: Path) -> Path:
    """What `replay --from scored-rows --kind kto` makes, of one row."""
    row = ScoredRow(
        row_id=row_id("r-1", "s-1", "strategy_success", 1), run_id="r-1", strategy_id="s-1",
        kind="strategy_success", attempt=1, prompt=user_message("Propose one."),
        response=assistant_message("Empty the cache."), score=1.0, agent_id=None, task_id=None,
        policy_id=None,
    )  # fmt: skip
    temporary, settings = folder.with_name("temporary"), CutSettings(eval_fraction=0.0)
    temporary.mkdir()
    content = write_labelled(temporary, [labelled_line(row)], settings)
    manifest = DatasetManifest(
        name=folder.name, parent=None, created_at=datetime(2026, 1, 1, tzinfo=UTC),
        pairs=content.pairs, runs=content.runs, rules=content.rules, offsets={},
        files=content.files, settings=settings, source=SOURCE, kind="kto",
    )  # fmt: skip
    cut.publish(temporary, folder, manifest)
    return folder


@pytest.mark.usefixtures("stand_in")
def test_responses_are_trained_on_by_kto_and_named_after_it(dataset: Path) -> None:
    env = {"PAIRSTREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    responses = published_responses(dataset.parent / "for-kto")
    unpaired = replace(GOOD, unpaired=True, base=replace(BASE, accuracy=None),
                       candidate=replace(BETTER, accuracy=None))  # fmt: skip
    result = msgspec.json.encode({"gate": unpaired}).decode()

    done = trained(responses, env, result=result, flags=("--method", "kto"))

    assert done.exit_code == 0, done.output
    assert "kto-for-kto: promoted (margin: 2.5, base 0.2" in done.stdout
    models = DataDir(dataset.parents[1]).models
    manifest = read_training(models / "kto-for-kto")
    assert manifest is not None
    assert manifest.arguments[:4] == ["--base-model-name", "base", "--method", "kto"]
    assert "trained by KTO" in (models / "kto-for-kto" / "README.md").read_text()
    assert read_latest(models) == "kto-for-kto"


@pytest.mark.usefixtures("stand_in")
def test_pairs_are_trained_on_as_ever_and_not_by_kto(dataset: Path) -> None:
    env = {"PAIRSTREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"}

    assert trained(dataset, env, result=PASSING).exit_code == 0
    manifest = read_training(DataDir(dataset.parents[1]).models / "dpo-ds-000001")
    assert manifest is not None
    assert "--method" not in manifest.arguments


@pytest.mark.usefixtures("stand_in")
def test_a_gate_that_is_off_lets_all_pass(dataset: Path) -> None:
    env = {"PAIRSTREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    done = trained(dataset, env, result=REFUSED, flags=("--gate", "off"))

    assert "dpo-ds-000001: promoted (the gate is off)" in done.stdout


@pytest.mark.usefixtures("stand_in")
def test_a_gate_of_ones_own_decides_by_its_exit_code(dataset: Path) -> None:
    env = {"PAIRSTREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    look = "import os, sys; sys.exit('adapter' in os.listdir(sys.argv[1]) and 'it is there')"
    command = shlex.join([sys.executable, "-c", look])
    done = trained(dataset, env, result=PASSING, flags=("--gate-command", command))

    assert "dpo-ds-000001: refused (command: it is there)" in done.stdout
    assert read_latest(DataDir(dataset.parents[1]).models) is None


@pytest.mark.parametrize("command", [["trainer"], ["train", "data/datasets/ds-000001"]])
def test_a_gate_that_is_no_program_is_refused_before_anything_is_trained(
    command: list[str], dataset: Path, pairstream: Pairstream, tiny_model: Path, tmp_path: Path
) -> None:
    done = pairstream(
        *command, "--launcher", "process", "--base-model", tiny_model, "--data-dir", "data",
        "--gate-command", "no-such-gate --strict", check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert "PAIRSTREAM_GATE_COMMAND: no-such-gate is no program" in done.stderr
    assert not (tmp_path / "data" / "models" / "dpo-ds-000001" / "context").exists()
