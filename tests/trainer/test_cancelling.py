"""Trainings that are cancelled: wherever they stand, whoever works on them, once and for all."""

import json
import os
import shlex
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.trainer.bench import Bench, Submit, is_running
from tests.trainer.driven import assert_lawful, assert_trained, started, told_of, train
from tests.trainer.lives import CANCELLED, whole_life
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import make_base_model, publish
from tests.waiting import wait_for
from trainer import process_launcher
from trainer.cancelling import (
    WISH,
    is_cancelled,
    why_cancelled,
    wish_to_cancel,
)
from trainer.latest import read_latest
from trainer.layout import make_folder
from trainer.steps import STEPS, WAITS, note_step, note_wait, read_steps, read_wait
from trainer.training_manifest import TrainingManifest

pytestmark = pytest.mark.long

LEFT = {"context", "manifest.json", "steps.jsonl", "training.log"}


def assert_cancelled(bench: Bench, manifest: TrainingManifest, why: str = "cancelled") -> None:
    """It has failed, and nothing of it runs or waits."""
    assert manifest.why == why
    assert not manifest.succeeded
    assert bench.steps[-1] == ("failed", why)
    assert bench.request.is_done()
    assert {path.name for path in bench.folder.iterdir()} <= LEFT
    assert not bench.request.archive.exists()
    assert read_latest(bench.request.models) is None


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_script_that_runs_is_ended_asked_first_and_then_killed(
    stubborn: bool,
    bench: Bench,
    in_background: Submit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_launcher, "STOP_SECONDS", 0.2 if stubborn else 60)
    running = in_background("--stubborn" if stubborn else "")
    (bench.folder / "checkpoints").mkdir()
    wish_to_cancel(bench.folder, "wrong base\nmodel")

    manifest = running.result(30)
    assert manifest.exit_code == (137 if stubborn else 143)
    assert not is_running(int(bench.notes()[0].split()[1]))
    assert [step for step, _ in bench.steps] == CANCELLED
    assert_cancelled(bench, manifest, "cancelled: wrong base\\nmodel")


def test_one_that_was_not_taken_up_yet_is_never_started(bench: Bench) -> None:
    make_folder(bench.folder)
    wish_to_cancel(bench.folder, "")

    manifest = bench.run()
    assert manifest.exit_code == 143
    assert bench.notes() == []
    assert [step for step, _ in bench.steps] == ["requested", "cleaned", "failed"]
    assert_cancelled(bench, manifest)


def test_the_wish_outlives_a_trainer_and_its_successor_fulfils_it(
    bench: Bench, in_background: Submit
) -> None:
    bench.leave(in_background())
    wish_to_cancel(bench.folder, "")
    script = int(bench.notes()[0].split()[1])
    assert is_running(script)

    assert_cancelled(bench, bench.run())
    assert not is_running(script)
    assert bench.counts() == ["started"]


def test_one_whose_processes_all_died_is_not_started_again(
    bench: Bench, in_background: Submit
) -> None:
    bench.leave(in_background())
    os.killpg(int((bench.folder / "process.lock").read_text()), signal.SIGKILL)
    wish_to_cancel(bench.folder, "")

    assert_cancelled(bench, bench.run())
    assert bench.counts() == ["started"]


def test_a_gate_of_the_user_that_is_asked_is_ended(bench: Bench, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    code = (
        f"import os, time; open({str(asked)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        "while True: time.sleep(0.02)"
    )
    command = shlex.join([sys.executable, "-c", code])
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.run, gate_command=command)
        try:
            wait_for(lambda: asked.exists() and asked.read_text().endswith("\n"))
            wish_to_cancel(bench.folder, "")
            manifest = running.result(30)
        finally:
            bench.stop.set()  # else a failure here would wait for the gate for ever

    assert not is_running(int(asked.read_text()))
    assert manifest.why == "cancelled"
    assert not bench.request.archive.exists()
    assert read_latest(bench.request.models) is None


def test_a_training_that_has_ended_is_not_cancelled(bench: Bench) -> None:
    manifest = bench.run()
    wish_to_cancel(bench.folder, "")

    assert bench.run() == manifest
    assert [step for step, _ in bench.steps][:9] == whole_life()
    assert not is_cancelled(bench.folder)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (b"", "cancelled"),
        (b" \n", "cancelled"),
        ("müde".encode(), "cancelled: müde"),
        (b"\x1b[2J\xff", "cancelled: \\x1b[2J\ufffd"),
        (b"x" * 1000, f"cancelled: {'x' * 300}"),
    ],
)
def test_the_reason_is_one_line_that_steers_no_terminal(
    told: bytes, why: str, tmp_path: Path
) -> None:
    (tmp_path / WISH).write_bytes(told)

    assert why_cancelled(tmp_path) == why


def test_links_that_a_training_leaves_in_their_place_lead_nowhere(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_text("secret")
    folder.mkdir()
    for name in (WISH, f".{WISH}.tmp", STEPS, WAITS, f"{WAITS}.tmp"):
        (folder / name).symlink_to(victim)

    assert why_cancelled(folder) == "cancelled"
    assert (read_steps(folder), read_wait(folder)) == ([], None)
    note_step(folder, "requested", None)
    note_wait(folder, "no room")
    wish_to_cancel(folder, "mine")

    assert victim.read_text() == "secret"
    assert [note.step for note in read_steps(folder)] == ["requested"]
    wait = read_wait(folder)
    assert wait is not None
    assert (wait.why, why_cancelled(folder)) == ("no room", "cancelled: mine")


POINTS = [
    "training.never_started", "training.ended", "training.cleaned_up",
    "training.cleaned_told", "training.told", "training.wish_gone", "training.done",
]  # fmt: skip


@pytest.mark.parametrize("point", POINTS)
def test_a_trainer_killed_while_it_cancels_leaves_the_rest_to_its_successor(
    point: str, tmp_path: Path
) -> None:
    make_base_model(tmp_path / "base")
    publish(tmp_path, make_pairs(3))
    models = publish(tmp_path, make_pairs(3, mark="s"), first=4).models
    make_folder(models / "dpo-ds-000001")
    wish_to_cancel(models / "dpo-ds-000001", "")

    assert train(tmp_path, crash_at=point) == -signal.SIGKILL
    train(tmp_path, failing=True)

    assert_failed(models / "dpo-ds-000001")
    assert started(tmp_path) == ["started", "ended"]
    assert_trained(models, "dpo-ds-000002")


RUNNING_POINTS = ["training.recorded", "training.started", "training.script_ended"]


@pytest.mark.parametrize("point", [*RUNNING_POINTS, "training.finished_told", "training.judged"])
def test_a_trainer_killed_with_its_script_started_and_then_cancelled_fails_it_once(
    point: str, tmp_path: Path
) -> None:
    make_base_model(tmp_path / "base")
    models = publish(tmp_path, make_pairs(3)).models

    assert train(tmp_path, crash_at=point) == -signal.SIGKILL
    wish_to_cancel(models / "dpo-ds-000001", "")
    train(tmp_path, failing=True)

    assert_failed(models / "dpo-ds-000001")
    notes = started(tmp_path) if (tmp_path / "starts").exists() else []
    assert notes.count("started") <= 1
    assert read_latest(models) is None


def test_a_trainer_killed_behind_the_end_of_the_script_fails_it_once(tmp_path: Path) -> None:
    make_base_model(tmp_path / "base")
    models = publish(tmp_path, make_pairs(3)).models
    until = f"--until {tmp_path / 'never'}"
    assert train(tmp_path, crash_at="training.started", arguments=until) == -signal.SIGKILL
    wait_for((tmp_path / "starts").exists)
    wish_to_cancel(models / "dpo-ds-000001", "")

    assert train(tmp_path, crash_at="training.stopped", arguments=until) == -signal.SIGKILL
    train(tmp_path, failing=True, arguments=until)

    assert_failed(models / "dpo-ds-000001")
    assert started(tmp_path) == ["started"]


def assert_failed(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert (manifest["why"], manifest["exit_code"] != 0) == ("cancelled", True)
    names = {path.name for path in folder.iterdir()}
    assert names.isdisjoint({WISH, ".started.json", "process.lock", "exit_code", "scratch"})
    assert_lawful(folder.parents[1])
    told = told_of(folder.parents[1], folder.name)
    assert set(told) >= {"cleaned", "failed"}
    assert set(told).isdisjoint({"gated", "archived", "promoted", "succeeded"})
