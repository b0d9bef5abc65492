"""`pairstream models`: what there is, which is the latest, and who changes that."""

import json
import shutil
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from pairstream.__main__ import cli
from pairstream.models import compare, read_model, read_shelf
from schemas.crash_points import VARIABLE
from schemas.errors import PairstreamError
from schemas.rows import TrainingStep
from tests.commands.deployment import NOW, Deployment, write_ended_training
from tests.conftest import Pairstream
from tests.trainer.judged import GOOD, WORSE
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import publish
from tests.trainer.told import told_steps
from trainer.archive import archive
from trainer.datasets import EVAL, TRAIN, file_sha256, read_manifest
from trainer.gate import Measured, judge_figures
from trainer.latest import promote_by_gate, read_history, read_latest
from trainer.layout import DataDir
from trainer.training_manifest import MADE, read_training, write_training

FIRST, SECOND, THIRD = "dpo-ds-000001", "dpo-ds-000002", "dpo-ds-000003"

NO_BROKER = {"PAIRSTREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"}


def make_model(
    data: DataDir, training_id: str, measured: Measured | None, *, days: int, beta: float = 0.1
) -> None:
    """As a training leaves it: judged, archived, and promoted if it passed."""
    dataset = read_manifest(data.datasets / training_id.removeprefix("dpo-"))
    write_ended_training(data, training_id, dataset.name, exit_code=0, why=None)
    folder = data.models / training_id
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(training_id.encode())
    figures: dict[str, Any] = {
        "pairs": dataset.files[TRAIN].rows,
        "arguments": {"beta": beta, "seed": 0},
    }
    if measured is not None:
        figures["gate"] = msgspec.to_builtins(measured)
    verdict = judge_figures(measured, min_pairs=20) if measured else None
    ended = read_training(folder)
    assert ended is not None
    weights = "adapter/adapter_model.safetensors"
    write_training(
        folder,
        replace(
            ended,
            dataset_sha256={name: entry.sha256 for name, entry in dataset.files.items()},
            finished_at=NOW + timedelta(days=days),
            figures=figures,
            files={weights: file_sha256(folder / weights)},
            gate=verdict,
        ),
    )
    archive(folder, (*MADE, "manifest.json"), data.models / f"{training_id}.tar.gz")
    if verdict is None or verdict.passed:
        promote_by_gate(data.models, training_id, verdict.told if verdict else "not judged")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models: one from before there was a gate, one that passed, one that was refused."""
    root = tmp_path_factory.mktemp("made") / "data"
    for number, mark in enumerate("abc"):
        publish(root, make_pairs(24, mark=mark), first=100 * number)
    data = DataDir(root)
    make_model(data, FIRST, None, days=0)
    make_model(data, SECOND, GOOD, days=1, beta=0.3)
    make_model(data, THIRD, WORSE, days=2)
    return root


@pytest.fixture
def data(made: Path, tmp_path: Path) -> DataDir:
    """A copy for each test to spoil."""
    shutil.copytree(made, tmp_path / "data", symlinks=True)
    return DataDir(tmp_path / "data")


class Shell:
    """`pairstream models ARGUMENTS...` on the data directory, in this process."""

    def __init__(self, data: DataDir, env: dict[str, str]) -> None:
        self.data = data
        self._env = {**env, "PAIRSTREAM_DATA_DIR": str(data.root)}

    def __call__(self, *arguments: str, answer: str | None = None) -> str:
        """Raises: what the command raises."""
        runner = CliRunner()
        done = runner.invoke(
            cli, ["models", *arguments], env=self._env, input=answer, catch_exceptions=False
        )
        if done.exception is not None:
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    def fails(self, *arguments: str) -> str:
        with pytest.raises(PairstreamError) as error:
            self(*arguments)
        assert "\n" not in str(error.value)
        return str(error.value)


@pytest.fixture
def models(data: DataDir) -> Shell:
    """With no broker."""
    return Shell(data, NO_BROKER)


@pytest.fixture
def told_models(data: DataDir, deployment: Deployment) -> Shell:
    """With a broker that is told."""
    return Shell(data, deployment.env)


def steps(deployment: Deployment) -> list[TrainingStep]:
    return told_steps(deployment.settings)


# --- Looking -------------------------------------------------------------------------------------


def test_list_shows_all_models_and_marks_the_latest(models: Shell) -> None:
    head, first, second, third, last = models("list").splitlines()
    trained_on = [
        str(read_manifest(models.data.datasets / f"ds-00000{number}").files[TRAIN].rows)
        for number in (1, 2, 3)
    ]

    assert head.split() == [
        "model", "trained", "dataset", "trained", "on", "gate", "accuracy", "margin", "chosen_logps"
    ]  # fmt: skip
    assert first.split() == [
        FIRST, "2026-11-23T10:00:00Z", "ds-000001", trained_on[0], "never", "judged", "-", "-", "-"
    ]  # fmt: skip
    assert second.split() == [
        "*", SECOND, "2026-11-24T10:00:00Z", "ds-000002", trained_on[1], "passed", "0.75", "2.5",
        "-0.99",
    ]  # fmt: skip
    assert third.split()[3:6] == [trained_on[2], "refused:", "margin"]
    assert f"{SECOND} promoted by gate, in place of {FIRST}: accuracy: 0.75, base 0.5" in last


def test_list_as_json_has_the_same_facts(models: Shell) -> None:
    shelf = json.loads(models("list", "--json"))

    assert shelf["latest"] == SECOND
    assert [m["training_id"] for m in shelf["models"]] == [FIRST, SECOND, THIRD]
    assert [m["is_latest"] for m in shelf["models"]] == [False, True, False]
    assert [m["gate"] and m["gate"]["passed"] for m in shelf["models"]] == [None, True, False]
    assert shelf["models"][1]["figures"]["margin"] == 2.5
    assert shelf["models"][0]["archive"].endswith(f"{FIRST}.tar.gz")
    assert [(c["training_id"], c["by"]) for c in shelf["history"]] == [
        (FIRST, "gate"), (SECOND, "gate")
    ]  # fmt: skip


def test_where_no_figure_is_told_it_was_trained_on_what_is_not_held_out(data: DataDir) -> None:
    manifest = read_training(data.models / FIRST)
    assert manifest is not None
    write_training(data.models / FIRST, replace(manifest, figures=None))
    dataset = read_manifest(data.datasets / "ds-000001")

    assert 0 < dataset.files[EVAL].rows < dataset.pairs
    assert read_shelf(data).models[0].pairs == dataset.files[TRAIN].rows


def test_without_models_list_says_so(tmp_path: Path) -> None:
    shell = Shell(DataDir(tmp_path / "nothing"), NO_BROKER)

    assert shell("list") == "no models yet\n"
    assert json.loads(shell("list", "--json")) == {"latest": None, "models": [], "history": []}


def test_a_training_that_failed_or_runs_is_no_model(data: DataDir) -> None:
    write_ended_training(data, "dpo-ds-000004", "ds-000004", exit_code=13, why="no number")
    (data.models / "dpo-ds-000005").mkdir()

    assert [model.training_id for model in read_shelf(data).models] == [FIRST, SECOND, THIRD]


def test_show_tells_the_gate_the_recipe_and_the_history(models: Shell) -> None:
    text = models("show", THIRD)

    assert text.startswith(
        f"model          {THIRD}\ndataset        ds-000003: 32 pairs of 24 runs: "
    )
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert rows["gate"] == ["refused:", "margin"]
    assert rows["margin"] == ["refused", "0.2", "0.1", "more", "than", "0.2"]
    assert rows["accuracy"] == ["passed", "0.5", "0.75", "at", "least", "0.5"]
    assert rows["length"] == ["passed", "40", "40", "12", "to", "88"]
    assert rows["beta"] == ["0.1"]
    assert rows["exit_code"] == ["0"]
    assert "on 40 held-out pairs" in text
    assert "never was latest" in text


def test_show_latest_means_the_latest(models: Shell) -> None:
    text, shown = models("show", "latest"), json.loads(models("show", "latest", "--json"))

    assert text.startswith(f"model          {SECOND} (latest)\n")
    assert f"{SECOND} promoted by gate, in place of {FIRST}" in text
    assert shown["is_latest"]
    assert shown["manifest"]["training_id"] == SECOND
    assert shown["dataset"]["name"] == "ds-000002"
    assert [change["before"] for change in shown["history"]] == [FIRST]


def test_compare_shows_what_differs_and_no_more(models: Shell) -> None:
    shown = json.loads(models("compare", SECOND, THIRD, "--json"))

    assert shown["models"] == [SECOND, THIRD]
    assert shown["figures"]["candidate.margin"] == [2.5, 0.1]
    assert shown["figures"]["base.margin"] == [0.2, 0.2]
    assert shown["recipe"] == {"arguments.beta": [0.3, 0.1]}
    assert shown["dataset"]["name"] == ["ds-000002", "ds-000003"]
    assert shown["dataset"]["parent"] == ["ds-000001", "ds-000002"]
    assert "pairs" not in shown["dataset"]
    assert not shown["same_held_out"]

    rows = [line.split() for line in models("compare", SECOND, THIRD).splitlines()]
    assert ["figures", SECOND, THIRD] in rows
    assert ["candidate.margin", "2.5", "0.1"] in rows
    assert ["arguments.beta", "0.3", "0.1"] in rows


def test_a_model_compared_with_itself_differs_in_nothing(data: DataDir) -> None:
    model = read_model(data, SECOND)

    comparison = compare(model, model)

    assert comparison.same_held_out
    assert comparison.recipe == comparison.dataset == {}
    assert all(first == second for first, second in comparison.figures.values())


def test_what_a_script_wrote_does_not_steer_the_terminal(data: DataDir, models: Shell) -> None:
    manifest = read_training(data.models / FIRST)
    assert manifest is not None
    write_training(data.models / FIRST, replace(manifest, figures={"x": "\x1b[2J", "\x1b": 1}))

    assert "\x1b" not in models("show", FIRST) + models("compare", FIRST, SECOND)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dpo-ds-00002", f"did you mean {SECOND}?"),
        ("nonsense", "see `pairstream models list`"),
        (f"../models/{SECOND}", f"did you mean {SECOND}?"),
        ("", "see `pairstream models list`"),
    ],
)
@pytest.mark.parametrize("command", ["show", "promote"])
def test_what_is_no_model_is_named(command: str, name: str, words: str, models: Shell) -> None:
    told = models.fails(command, name)

    assert "is no model in" in told
    assert words in told


# --- Changing ------------------------------------------------------------------------------------


def test_promote_points_latest_and_tells_it(told_models: Shell, deployment: Deployment) -> None:
    text = told_models("promote", FIRST, "--why", "the agents like it")

    assert text == f"{FIRST} is the latest now, in place of {SECOND}\n"
    assert (told_models.data.models / "latest").resolve().name == FIRST
    [step] = steps(deployment)
    assert (step.training_id, step.step, step.dataset) == (FIRST, "promoted", "ds-000001")
    assert step.detail == "by user: the agents like it"
    dataset = read_manifest(told_models.data.datasets / "ds-000001")
    assert step.dataset_sha256 == dataset.sha256
    last = read_history(told_models.data.models)[-1]
    assert (last.training_id, last.what, last.by, last.before, last.why) == (
        FIRST, "promoted", "user", SECOND, "the agents like it"
    )  # fmt: skip


def test_rollback_goes_back_and_tells_it(told_models: Shell, deployment: Deployment) -> None:
    assert told_models("rollback") == f"{FIRST} is the latest now, in place of {SECOND}\n"

    assert read_latest(told_models.data.models) == FIRST
    [step] = steps(deployment)
    assert (step.training_id, step.step, step.detail) == (FIRST, "rolled_back", "by user")
    assert "there is no earlier latest" in told_models.fails("rollback")


def test_rollback_goes_to_the_one_that_is_named(models: Shell) -> None:
    models("promote", THIRD, "--yes", "--no-event")
    models("promote", SECOND, "--no-event")

    models("rollback", "--to", FIRST, "--no-event")

    assert read_latest(models.data.models) == FIRST
    assert [(c.training_id, c.what) for c in read_history(models.data.models)[2:]] == [
        (THIRD, "promoted"), (SECOND, "promoted"), (FIRST, "rolled_back")
    ]  # fmt: skip


def test_rollbacks_one_after_another_go_further_back(models: Shell) -> None:
    models("promote", THIRD, "--yes", "--no-event")

    for expected in (SECOND, FIRST):
        models("rollback", "--no-event")
        assert read_latest(models.data.models) == expected


def test_what_the_gate_refused_is_promoted_only_when_asked_twice(models: Shell) -> None:
    told = models.fails("promote", THIRD, "--no-event")

    assert f"the gate refused {THIRD} (margin: 0.1, base 0.2, wanted more than 0.2)" in told
    assert "--yes" in told
    assert read_latest(models.data.models) == SECOND

    assert "the gate refused" in models("promote", THIRD, "--no-event", "--yes")
    assert read_latest(models.data.models) == THIRD


@pytest.mark.parametrize(("answer", "latest"), [("y\n", THIRD), ("n\n", SECOND)])
def test_on_a_terminal_it_asks(
    answer: str, latest: str, models: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairstream.commands.models.is_terminal", lambda: True)
    runner = CliRunner()
    arguments = ["models", "promote", THIRD, "--no-event", "--data-dir", str(models.data.root)]

    done = runner.invoke(cli, arguments, input=answer)

    assert "Make it the latest all the same? [y/N]" in done.output
    assert read_latest(models.data.models) == latest


def test_without_a_broker_nothing_is_changed(
    models: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairstream.promotion.ANSWER_SECONDS", 0.0)
    before = (models.data.models / "history.jsonl").read_bytes()

    for command in (["promote", FIRST], ["rollback"]):
        told = models.fails(*command)
        assert told.startswith("no broker answers at 127.0.0.1:1")
        assert told.endswith("to change it without an event: --no-event")

    assert read_latest(models.data.models) == SECOND
    assert (models.data.models / "history.jsonl").read_bytes() == before


def test_a_missing_topic_is_named(data: DataDir, embedded_broker: str, prefix: str) -> None:
    shell = Shell(
        data,
        {"PAIRSTREAM_BOOTSTRAP_SERVERS": embedded_broker, "PAIRSTREAM_TOPIC_PREFIX": prefix},
    )

    assert "pairstream topics apply" in shell.fails("promote", FIRST)
    assert read_latest(data.models) == SECOND


def test_asked_for_again_it_changes_nothing_and_tells_it_again(
    told_models: Shell, deployment: Deployment
) -> None:
    for _ in range(2):
        text = told_models("promote", FIRST)

    assert text == f"{FIRST} is the latest already\n"
    assert [step.step for step in steps(deployment)] == ["promoted"] * 2
    assert len(read_history(told_models.data.models)) == 3


def damage_archive(data: DataDir) -> Path:
    path = data.models / f"{FIRST}.tar.gz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    return path


def damage_adapter(data: DataDir) -> Path:
    path = data.models / FIRST / "adapter" / "adapter_model.safetensors"
    path.write_bytes(b"other weights")
    return path


def lose_adapter(data: DataDir) -> Path:
    path = data.models / FIRST / "adapter" / "adapter_model.safetensors"
    path.unlink()
    return path


def take_checksum(data: DataDir) -> Path:
    (data.models / f"{FIRST}.tar.gz.sha256").unlink()
    return Path(f"{FIRST} is not published yet")


@pytest.mark.parametrize("damage", [damage_archive, damage_adapter, lose_adapter, take_checksum])
@pytest.mark.parametrize("command", [["promote", FIRST], ["rollback"]])
def test_a_damaged_model_never_becomes_latest(
    damage: Any, command: list[str], models: Shell
) -> None:
    named = damage(models.data)

    assert str(named) in models.fails(*command, "--no-event")
    assert read_latest(models.data.models) == SECOND
    assert len(read_history(models.data.models)) == 2


def test_a_model_whose_dataset_lies_elsewhere_is_shown_and_promoted(models: Shell) -> None:
    shutil.rmtree(models.data.datasets)

    assert "ds-000001, which lies elsewhere" in models("show", FIRST)
    models("promote", FIRST, "--no-event")
    assert read_latest(models.data.models) == FIRST


@pytest.mark.parametrize("point", ["training.remembered", "training.latest"])
def test_a_promotion_that_was_killed_is_said_again(
    point: str, told_models: Shell, deployment: Deployment, pairstream: Pairstream
) -> None:
    env = {**deployment.env, "PAIRSTREAM_DATA_DIR": str(told_models.data.root)}

    killed = pairstream("models", "promote", FIRST, env={**env, VARIABLE: point}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert steps(deployment) == []
    assert read_latest(told_models.data.models) == (FIRST if "latest" in point else SECOND)
    pairstream("models", "promote", FIRST, env=env)

    assert read_latest(told_models.data.models) == FIRST
    assert [(step.training_id, step.step) for step in steps(deployment)] == [(FIRST, "promoted")]
    assert told_models("rollback").startswith(f"{SECOND} is the latest now")
    assert not list(told_models.data.models.glob(".*"))


def test_an_event_that_was_not_acknowledged_says_how_latest_stands(
    told_models: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PairstreamError("Kafka did not take what the trainer wrote: gone")

    monkeypatch.setattr("trainer.outbox.Outbox.tell", refuse)

    told = told_models.fails("rollback")

    assert told.startswith(f"latest is {FIRST} now, but that was not told")
    assert f"`pairstream models rollback --to {FIRST}` tells it again" in told
    assert read_latest(told_models.data.models) == FIRST


def test_nothing_is_loaded_that_trains_or_streams(pairstream: Pairstream, data: DataDir) -> None:
    done = pairstream(
        "models", "list", "--data-dir", data.root, env={"PYTHONPROFILEIMPORTTIME": "1"}
    )

    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "msgspec" in loaded
    assert loaded.isdisjoint({"faust", "docker", "torch", "numpy"})
