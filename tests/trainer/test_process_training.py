"""Trainings in real processes, with a stand-in for the script: how they end, and what is told."""

import fcntl
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.errors import InvalidSettings, PairstreamError
from schemas.settings import TrainingSettings
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import make_base_model, publish, stand_in_context
from tests.trainer.waiting import wait_for
from trainer import process_launcher, training
from trainer.launcher import EngineUnavailable
from trainer.process_launcher import ProcessLauncher
from trainer.training import TrainingInterrupted, TrainingRequest, run_training
from trainer.training_manifest import TrainingManifest, read_started, write_started


class Bench:
    """One training of one dataset in a process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        make_base_model(root / "base")
        data = publish(root, make_pairs(3))
        self.request = TrainingRequest(
            "dpo-ds-000001", "d1", data.datasets / "ds-000001", data.models
        )
        self.folder = self.request.folder
        self.stop = threading.Event()
        self.steps: list[tuple[str, str | None]] = []

    def run(self, arguments: str = "", **settings: Any) -> TrainingManifest:
        return run_training(
            self.request,
            self.settings(arguments, **settings),
            ProcessLauncher(self.root / "venv"),
            on_step=lambda step, detail: self.steps.append((step, detail)),
            stop=self.stop,
        )

    def settings(self, arguments: str = "", **settings: Any) -> TrainingSettings:
        given = {
            "data_dir": self.root,
            "launcher": "process",
            "training_python": sys.executable,
            "base_model": str(self.root / "base"),
            "training_args": f"--starts {self.root / 'starts'} {arguments}",
        }
        return TrainingSettings(**given | settings)

    def notes(self) -> list[str]:
        """What the script wrote down: `started`, its number and environment, or `ended`."""
        path = self.root / "starts"
        return path.read_text().splitlines() if path.exists() else []

    def counts(self) -> list[str]:
        return [note.split()[0] for note in self.notes()]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(training, "training_context", stand_in_context)
    monkeypatch.setattr(training, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(process_launcher, "POLL_SECONDS", 0.02)
    return Bench(tmp_path)


@pytest.fixture
def in_background(bench: Bench) -> Any:
    """Run a training beside the test; whatever happens, its script is let go."""
    gate = bench.root / "gate"
    with ThreadPoolExecutor(2) as pool:

        def submit(arguments: str = "") -> Future[TrainingManifest]:
            future = pool.submit(bench.run, f"--until {gate} {arguments}")
            wait_for(lambda: bench.counts() == ["started"] or future.done())
            return future

        yield submit
        gate.touch()


Submit = Callable[..., "Future[TrainingManifest]"]


def test_a_training_that_succeeds_leaves_manifest_archive_and_latest(bench: Bench) -> None:
    manifest = bench.run()

    assert manifest.succeeded
    assert manifest.why is None
    assert manifest.base_model == str(bench.root / "base")
    assert manifest.arguments[:2] == ["--base-model-name", "base"]
    dataset = json.loads((bench.request.dataset / "manifest.json").read_bytes())
    assert manifest.dataset_sha256 == {
        name: entry["sha256"] for name, entry in dataset["files"].items()
    }
    assert set(manifest.files) == {
        "adapter/adapter_model.safetensors", "metrics.jsonl", "training.log", "result.json"
    }  # fmt: skip
    assert bench.request.archive.is_file()
    assert (bench.request.models / "latest").resolve() == bench.folder.resolve()
    assert [step for step, _ in bench.steps] == ["requested", "started", "succeeded"]
    assert bench.request.is_done()
    assert f"trained {bench.request.dataset} base" in (bench.folder / "training.log").read_text()


def test_what_is_done_is_not_done_again(bench: Bench) -> None:
    first = bench.run()

    assert bench.run() == first
    assert bench.counts() == ["started", "ended"]


def test_a_script_gets_no_secret_and_a_home_of_its_own(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRSTREAM_SASL_PASSWORD", "secret")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    bench.run()

    names = set(bench.notes()[0].split()[2:])
    assert {"HOME", "PATH", "HF_HOME"} <= names
    assert names.isdisjoint({"PAIRSTREAM_SASL_PASSWORD", "PYTHONPATH"})


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        ("--code 10", 10, "the dataset or the base model is bad"),
        ("--code 12", 12, "the GPU's memory ran out"),
        ("--code 14", 14, "a check of the training failed"),
        ("--code 99", 99, "exit code 99"),
        ("--killed", 137, "it was killed"),
        ("--no-such-flag", 2, "exit code 2"),
        ("--result NaN", 14, "it left no adapter or no result.json"),
        ("--result {", 14, "it left no adapter or no result.json"),
    ],
)
def test_a_script_that_fails_fails_its_training_and_says_why(
    arguments: str, code: int, why: str, bench: Bench
) -> None:
    manifest = bench.run(arguments)

    assert (manifest.exit_code, manifest.why) == (
        code,
        f"{why}: see {bench.folder / 'training.log'}",
    )
    assert bench.steps[-1] == ("failed", manifest.why)
    assert not bench.request.archive.exists()
    assert not (bench.request.models / "latest").exists()
    assert bench.request.is_done()
    assert bench.counts().count("started") <= 1


def test_an_interpreter_that_is_not_there_is_named_in_the_log(bench: Bench) -> None:
    manifest = bench.run(training_python="/nowhere/python")

    assert manifest.exit_code == 127
    assert "/nowhere/python cannot be started" in (bench.folder / "training.log").read_text()


def test_a_trainer_that_stops_leaves_the_script_running_and_its_successor_follows_it(
    bench: Bench, in_background: Submit
) -> None:
    interrupted = in_background()
    bench.stop.set()
    with pytest.raises(TrainingInterrupted):
        interrupted.result(30)
    assert bench.counts() == ["started"]

    bench.stop = threading.Event()
    followed = in_background()
    (bench.root / "gate").touch()

    assert followed.result(30).succeeded
    assert bench.counts() == ["started", "ended"]


def test_the_first_start_is_what_the_manifest_tells(bench: Bench, in_background: Submit) -> None:
    interrupted = in_background()
    bench.stop.set()
    with pytest.raises(TrainingInterrupted):
        interrupted.result(30)
    started = read_started(bench.folder)
    assert started is not None

    bench.stop = threading.Event()
    (bench.root / "gate").touch()
    manifest = bench.run("--code 5")

    assert manifest.succeeded
    assert (manifest.arguments, manifest.started_at) == (started.arguments, started.at)


def test_one_training_is_done_by_one_process_at_a_time(bench: Bench, in_background: Submit) -> None:
    running = in_background()
    with pytest.raises(EngineUnavailable, match="another process does dpo-ds-000001 already"):
        bench.run()

    (bench.root / "gate").touch()
    assert running.result(30).succeeded


def test_a_training_is_not_started_a_second_time_elsewhere(
    bench: Bench, in_background: Submit
) -> None:
    interrupted = in_background()
    bench.stop.set()
    with pytest.raises(TrainingInterrupted):
        interrupted.result(30)
    bench.stop = threading.Event()
    started = read_started(bench.folder)
    assert started is not None
    write_started(bench.folder, msgspec.structs.replace(started, launcher="docker"))

    with pytest.raises(PairstreamError, match="was started by PAIRSTREAM_LAUNCHER=docker"):
        bench.run()
    assert bench.counts() == ["started"]


def test_a_killed_supervisor_leaves_the_end_unknown_and_fails_the_training(
    bench: Bench, in_background: Submit
) -> None:
    running = in_background()
    os.kill(int((bench.folder / "process.lock").read_text()), signal.SIGKILL)
    (bench.root / "gate").touch()

    manifest = running.result(30)
    assert manifest.exit_code == 137
    assert manifest.why == "its supervisor was killed, so nobody knows how it ended"
    assert bench.counts() == ["started", "ended"]


def test_supervisor_and_script_killed_beside_a_living_trainer_fail_the_training(
    bench: Bench, in_background: Submit
) -> None:
    running = in_background()
    os.killpg(int((bench.folder / "process.lock").read_text()), signal.SIGKILL)

    assert running.result(30).exit_code == 137


def test_supervisor_and_script_killed_together_with_the_trainer_are_started_again(
    bench: Bench, in_background: Submit
) -> None:
    interrupted = in_background()
    bench.stop.set()
    with pytest.raises(TrainingInterrupted):
        interrupted.result(30)
    os.killpg(int((bench.folder / "process.lock").read_text()), signal.SIGKILL)
    (bench.root / "gate").touch()

    bench.stop = threading.Event()
    assert bench.run().succeeded
    assert bench.counts() == ["started", "started", "ended"]


@pytest.mark.parametrize(("arguments", "code"), [("", 143), ("--stubborn", 137)])
def test_a_training_beyond_its_deadline_is_asked_to_end_and_then_killed(
    arguments: str,
    code: int,
    bench: Bench,
    in_background: Submit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_launcher, "STOP_SECONDS", 0.2 if code == 137 else 60)
    interrupted = in_background(arguments)
    bench.stop.set()
    with pytest.raises(TrainingInterrupted):
        interrupted.result(30)
    bench.stop = threading.Event()

    manifest = bench.run(training_deadline_seconds=0.001)

    assert (manifest.exit_code, manifest.why) == (code, "it took longer than 0.001 s")
    assert bench.counts() == ["started"]
    assert not is_running(int(bench.notes()[0].split()[1]))


def is_running(number: int) -> bool:
    """A process that has ended may still wait for its parent to ask how."""
    status = Path(f"/proc/{number}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_a_dataset_that_was_changed_is_not_trained_on(bench: Bench) -> None:
    train = bench.request.dataset / "train.jsonl"
    train.chmod(0o644)
    train.write_bytes(train.read_bytes().replace(b"Empty", b"Erase"))

    with pytest.raises(PairstreamError, match=r"train\.jsonl is not what its manifest says"):
        bench.run()
    assert not bench.notes()


def test_arguments_that_cannot_be_split_are_a_wrong_setting(bench: Bench) -> None:
    with pytest.raises(InvalidSettings, match="PAIRSTREAM_TRAINING_ARGS: No closing quotation"):
        bench.run("'")


def test_a_damaged_manifest_of_a_training_is_named(bench: Bench) -> None:
    bench.run()
    (bench.folder / "manifest.json").write_text("{")

    with pytest.raises(PairstreamError, match=r"dpo-ds-000001/manifest\.json is damaged"):
        bench.run()


# --- The virtual environment ----------------------------------------------------------------------

PIP = """\
#!/bin/sh
echo "$@" >> {log}
if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; fi
test ! -e {broken} || test "$2" = venv
"""


class Requirements:
    """An interpreter that only writes down what it is asked to install."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log, self.broken = bench.root / "pip.log", bench.root / "broken"
        python = bench.root / "python"
        paths = {"log": shlex.quote(str(self.log)), "broken": shlex.quote(str(self.broken))}
        python.write_text(PIP.format(**paths))
        python.chmod(0o755)
        monkeypatch.setattr(process_launcher.sys, "executable", str(python))
        self._bench = bench
        self.plan = training._plan(bench.request, bench.settings(training_python=None))
        self.plan.folder.mkdir(parents=True)

    def prepare(self) -> str:
        return ProcessLauncher(self._bench.root / "venv").prepare(self.plan, lambda _: None)

    def commands(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def requirements(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Requirements:
    return Requirements(bench, monkeypatch)


def test_a_virtual_environment_is_made_once_with_torch_first(
    requirements: Requirements, bench: Bench
) -> None:
    python = requirements.prepare()

    assert python == requirements.prepare() == str(bench.root / "venv" / "bin" / "python")
    assert requirements.commands() == [
        f"-m venv {bench.root / 'venv'}",
        "-m pip install torch==0",
        f"-m pip install -r {bench.root / 'venv' / 'requirements.txt'}",
    ]
    assert (bench.root / "venv" / "requirements.txt").read_text() == "torch==0\n"


def test_requirements_that_cannot_be_installed_are_tried_again(requirements: Requirements) -> None:
    requirements.broken.touch()
    with pytest.raises(EngineUnavailable, match=r"cannot be installed: see .*/build\.log"):
        requirements.prepare()

    requirements.broken.unlink()
    requirements.prepare()
    assert len(requirements.commands()) == 2 + 3


def test_two_processes_never_make_one_virtual_environment(
    requirements: Requirements, bench: Bench
) -> None:
    with (bench.root / ".venv.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EngineUnavailable, match="another process makes"):
            requirements.prepare()
    assert not requirements.log.exists()
