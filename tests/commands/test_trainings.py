"""`pairstream trainings`: what stands in the folders, and what a person does about it."""

import json
import shlex
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from pairstream import train_now, training_acts
from pairstream.__main__ import cli
from pairstream.training_text import shown_age
from schemas.errors import PairstreamError
from tests.commands.deployment import NOW, write_ended_training
from tests.trainer.bench import Bench
from tests.trainer.lives import whole_life
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import publish, stand_in_context
from tests.waiting import wait_for
from trainer import process_launcher, training
from trainer.cancelling import is_cancelled
from trainer.layout import DataDir
from trainer.steps import note_step, note_wait
from trainer.training_manifest import Started, read_training, write_started, write_training
from trainer.verdict import Check, Verdict

pytestmark = pytest.mark.long

FIRST, SECOND, THIRD = "dpo-ds-000001", "dpo-ds-000002", "dpo-ds-000003"
REFUSED = Verdict(passed=False, checks=[Check(name="margin", passed=False, note="too small")])
STARTED = Started(NOW, "process", "python", "tag", "tiny", [])


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """One training in a process, with a stand-in for its script."""
    monkeypatch.setattr(training, "training_context", stand_in_context)
    monkeypatch.setattr(training, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(process_launcher, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(training_acts, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(train_now, "ANSWER_SECONDS", 0.01)
    return Bench(tmp_path)


@pytest.fixture
def running(bench: Bench) -> Iterator["Future[Any]"]:
    """It has started, and ends when the test lets it."""
    gate = bench.root / "gate"
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(bench.run, f"--until {gate}")
        wait_for(lambda: bench.counts() == ["started"] or future.done())
        yield future
        gate.touch()


def invoke(root: Path, *arguments: object) -> Result:
    words = ["trainings", *map(str, arguments), "--data-dir", str(root)]
    return CliRunner().invoke(cli, words, catch_exceptions=False)


def run(root: Path, *arguments: object) -> str:
    done = invoke(root, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(root: Path, *arguments: object) -> str:
    with pytest.raises(PairstreamError) as error:
        invoke(root, *arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """A model that the gate refused, a failure, and one that waits."""
    data = DataDir(tmp_path)
    for name, mark in (("r", 0), ("s", 4), ("t", 8)):
        publish(tmp_path, make_pairs(3, mark=name), first=mark)
    write_ended_training(data, FIRST, "ds-000001", exit_code=0, why=None, gate=REFUSED)
    write_ended_training(data, SECOND, "ds-000002", exit_code=12, why="no memory\x1b[2J")
    (data.models / THIRD).mkdir()
    note_step(data.models / THIRD, "requested", None)
    note_wait(data.models / THIRD, "waits for the GPU")
    return data


def test_the_list_tells_state_dataset_model_gate_age_and_how_long(data: DataDir) -> None:
    (data.models / "latest").symlink_to(FIRST)
    head, first, second, third = run(data.root, "list").splitlines()

    assert head.split() == ["training", "state", "dataset", "model", "gate", "age", "took"]
    assert first.split()[:6] == [FIRST, "succeeded", "ds-000001", "latest", "refused:", "margin"]
    assert second.split()[:5] == [SECOND, "failed", "ds-000002", "-", "-"]
    assert second.endswith(r"no memory\x1b[2J")
    assert third.split()[:4] == [THIRD, "requested", "ds-000003", "-"]
    assert third.endswith("waits: waits for the GPU")


def test_the_list_as_json_holds_the_same(data: DataDir) -> None:
    told = json.loads(run(data.root, "list", "--json"))["trainings"]

    assert [(t["training_id"], t["state"], t["exit_code"]) for t in told] == [
        (FIRST, "succeeded", 0), (SECOND, "failed", 12), (THIRD, "requested", None)
    ]  # fmt: skip
    assert told[2]["waits"]["why"] == "waits for the GPU"
    assert told[0]["gate"]["passed"] is False


def test_a_directory_without_trainings_is_no_error(tmp_path: Path) -> None:
    assert run(tmp_path, "list") == "no trainings yet\n"
    assert json.loads(run(tmp_path, "list", "--json")) == {"trainings": []}


def test_one_that_runs_is_shown_with_its_step(data: DataDir) -> None:
    folder = data.models / THIRD
    for step in ("building", "started"):
        note_step(folder, step, "process")  # type: ignore[arg-type]
    (folder / ".waits.json").unlink()
    write_started(folder, STARTED)
    (folder / "metrics.jsonl").write_text('{"step":40,"steps":125,"loss":0.5}\n')

    *_, line = run(data.root, "list").splitlines()
    assert line.split()[1] == "started"
    assert line.endswith("step 40 of 125")
    assert json.loads(run(data.root, "show", THIRD, "--json"))["facts"]["progress"]["step"] == 40


def test_one_of_an_older_trainer_that_kept_no_steps_is_known_by_its_record(data: DataDir) -> None:
    folder = data.models / "dpo-ds-000003-2"
    folder.mkdir()
    write_started(folder, STARTED)

    facts = json.loads(run(data.root, "show", folder.name, "--json"))
    assert (facts["facts"]["state"], facts["steps"]) == ("started", [])
    assert facts["facts"]["dataset"] == "ds-000003"


def test_a_step_that_was_torn_or_is_of_a_newer_trainer_is_passed_over(data: DataDir) -> None:
    with (data.models / THIRD / "steps.jsonl").open("a") as file:
        file.write('{"time":"2026-11-23T10:00:00Z","step":"dreamt"}\n{"time":"20')

    assert json.loads(run(data.root, "show", THIRD, "--json"))["facts"]["state"] == "requested"


def test_the_story_tells_every_step_and_how_it_ended(bench: Bench) -> None:
    bench.run("--code 12")
    text = run(bench.root, "show", FIRST)
    told = json.loads(run(bench.root, "show", FIRST, "--json"))

    assert [step["step"] for step in told["steps"]] == [step for step, _ in bench.steps]
    assert told["manifest"]["exit_code"] == 12
    assert told["log"] == str(bench.folder / "training.log")
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert lines["state"].split()[1].startswith("failed")
    assert "the GPU's memory ran out" in lines["why"]
    assert str(bench.folder) in lines["folder"]
    for word in ("requested", "building", "started", "finished", "cleaned", "failed"):
        assert f"Z  {word}" in text


def test_the_story_of_a_success_has_its_archive(bench: Bench) -> None:
    bench.run()
    told = json.loads(run(bench.root, "show", FIRST, "--json"))

    assert [step["step"] for step in told["steps"]] == whole_life()
    assert told["facts"]["archive"] == str(bench.request.archive)
    assert told["facts"]["is_latest"]
    assert str(bench.request.archive) in run(bench.root, "show", FIRST)


@pytest.mark.parametrize("act", [["show"], ["logs"], ["cancel"], ["retry", "--base-model", "x"]])
def test_a_training_that_is_not_there_is_named_with_its_likeness(
    act: list[str], data: DataDir
) -> None:
    assert f"did you mean {FIRST}?" in refused(data.root, act[0], "dpo-ds-00001", *act[1:])
    assert "see `pairstream trainings list`" in refused(data.root, act[0], "../x", *act[1:])


# --- Logs ----------------------------------------------------------------------------------------


def test_the_log_is_shown_without_what_steers_a_terminal(data: DataDir) -> None:
    (data.models / FIRST / "training.log").write_bytes(b"one\x1b[2J\n\xff\nlast")

    assert run(data.root, "logs", FIRST) == "one\\x1b[2J\n\ufffd\nlast\n"


def test_a_training_without_a_log_says_where_it_stands(data: DataDir) -> None:
    assert "has no log yet (requested)" in refused(data.root, "logs", THIRD)


def test_who_follows_a_log_is_told_of_what_comes_after_it(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data.models / THIRD
    for name in (FIRST, SECOND, THIRD):
        (data.models / name / "training.log").write_text("done\n")
    manifest = read_training(data.models / FIRST)
    assert manifest is not None
    meanwhile = iter(
        [
            lambda: note_step(folder, "finished", "exit code 0"),
            lambda: None,  # the gate takes its time
            lambda: write_training(folder, manifest),
        ]
    )
    monkeypatch.setattr(training_acts, "sleep", lambda _: next(meanwhile)())

    followed = invoke(data.root, "logs", THIRD, "--follow")

    assert followed.stdout == "done\n"
    assert followed.stderr.splitlines() == [
        f"{THIRD}: its script has ended; the trainer judges what came of it",
        f"{THIRD} has succeeded, gate refused: margin",
    ]
    failed = invoke(data.root, "logs", SECOND, "--follow").stderr
    assert failed == f"{SECOND} has failed: no memory\\x1b[2J\n"
    assert invoke(data.root, "logs", FIRST).stderr == ""


def test_a_log_is_followed_from_before_it_is_there_until_the_training_has_ended(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data.models / THIRD
    log = folder / "training.log"

    def end() -> None:
        manifest = read_training(data.models / SECOND)
        assert manifest is not None
        write_training(folder, msgspec.structs.replace(manifest, dataset="ds-000003"))

    meanwhile = iter(
        [
            lambda: log.write_text("one\ntw"),
            lambda: log.write_text("one\ntwo\nthree\n"),
            lambda: log.write_text("a\n"),  # begun anew
            lambda: (log.write_text("a\nthe end"), end()),
        ]
    )
    monkeypatch.setattr(training_acts, "sleep", lambda _: next(meanwhile)())

    assert run(data.root, "logs", THIRD, "--follow").split("\n") == [
        "one", "two", "three", "a", "the end", ""
    ]  # fmt: skip


# --- Cancel --------------------------------------------------------------------------------------


def test_a_training_that_runs_elsewhere_is_cancelled(bench: Bench, running: "Future[Any]") -> None:
    said = run(bench.root, "cancel", FIRST, "--why", "wrong base")
    assert f"{FIRST} is to be cancelled" in said

    assert running.result(30).why == "cancelled: wrong base"
    assert "cancelled: wrong base" in run(bench.root, "list")


def test_the_list_says_what_is_being_cancelled(data: DataDir) -> None:
    run(data.root, "cancel", THIRD)

    assert run(data.root, "list").splitlines()[-1].endswith("is being cancelled")
    assert is_cancelled(data.models / THIRD)


@pytest.mark.parametrize(("name", "state"), [(FIRST, "succeeded"), (SECOND, "failed")])
def test_what_has_ended_is_not_cancelled(name: str, state: str, data: DataDir) -> None:
    assert f"{name} has {state}: nothing is to be cancelled" in refused(data.root, "cancel", name)
    assert not is_cancelled(data.models / name)


def test_a_wish_that_came_too_late_is_taken_away(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data.models / THIRD
    wish = training_acts.wish_to_cancel

    def end_and_wish(where: Path, why: str) -> None:
        manifest = read_training(data.models / SECOND)
        assert manifest is not None
        write_training(folder, manifest)
        wish(where, why)

    monkeypatch.setattr(training_acts, "wish_to_cancel", end_and_wish)

    assert "has failed: nothing is to be cancelled" in refused(data.root, "cancel", THIRD)
    assert not is_cancelled(folder)


# --- Retry ---------------------------------------------------------------------------------------


def retry(bench: Bench, *flags: str, base: str = "base", arguments: str = "") -> Result:
    return invoke(
        bench.root, "retry", FIRST, "--launcher", "process", "--training-python", sys.executable,
        "--base-model", bench.root / base, "--bootstrap-servers", "127.0.0.1:1",
        "--training-args", f"--starts {shlex.quote(str(bench.root / 'starts'))} {arguments}",
        *flags,
    )  # fmt: skip


def test_a_failed_training_is_tried_again_under_the_next_number(bench: Bench) -> None:
    bench.run("--code 12")

    done = retry(bench)
    assert done.exit_code == 0
    assert f"{FIRST}-2: succeeded" in done.stdout
    assert bench.counts() == ["started", "ended"] * 2
    first, second = (read_training(bench.request.models / name) for name in (FIRST, f"{FIRST}-2"))
    assert first is not None
    assert second is not None
    assert (first.exit_code, second.exit_code) == (12, 0)
    assert first.dataset_sha256 == second.dataset_sha256


def test_what_failed_for_bad_data_is_refused_until_something_is_different(bench: Bench) -> None:
    bench.run("--code 10")

    with pytest.raises(PairstreamError, match="failed for its dataset or base model, and both"):
        retry(bench)
    assert bench.counts() == ["started", "ended"]

    (bench.root / "base").rename(bench.root / "mended")
    assert f"{FIRST}-2: succeeded" in retry(bench, base="mended").stdout


def test_a_dataset_that_was_restored_is_another_one(bench: Bench) -> None:
    bench.run("--code 10")
    manifest = read_training(bench.folder)
    assert manifest is not None
    damaged = {**manifest.dataset_sha256, "train.jsonl": "0" * 64}
    write_training(bench.folder, msgspec.structs.replace(manifest, dataset_sha256=damaged))

    assert f"{FIRST}-2: succeeded" in retry(bench).stdout


def test_what_has_succeeded_or_has_not_ended_is_not_retried(data: DataDir) -> None:
    flags = ["--base-model", "x"]

    assert "has succeeded: `pairstream train`" in refused(data.root, "retry", FIRST, *flags)
    assert "has not ended (requested): wait" in refused(data.root, "retry", THIRD, *flags)


def test_a_training_of_a_dataset_that_lies_elsewhere_is_not_retried(data: DataDir) -> None:
    write_ended_training(data, "dpo-mine", "mine", exit_code=12, why="no memory")

    assert "mine is no dataset of" in refused(data.root, "retry", "dpo-mine", "--base-model", "x")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (86400 * 3 + 1, "3d")],
)
def test_ages_are_short(seconds: float, shown: str) -> None:
    assert shown_age(seconds) == shown


def test_how_long_a_running_one_took_counts_until_now(data: DataDir) -> None:
    write_started(data.models / THIRD, msgspec.structs.replace(STARTED, at=datetime.now(UTC)))
    facts = json.loads(run(data.root, "show", THIRD, "--json"))["facts"]

    assert datetime.fromisoformat(facts["started_at"]) > NOW + timedelta(days=1)
    assert facts["finished_at"] is None
