"""Trainings in real processes, with a stand-in for the script: how they end, and what is told."""

import hashlib
import json
import os
import shlex
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from schemas.errors import InvalidSettings, PairstreamError
from tests.trainer.bench import Bench, Submit, is_running
from tests.trainer.judged import PASSING, REFUSED
from tests.trainer.lives import whole_life
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import publish as publish_pairs
from tests.waiting import wait_for
from trainer import training
from trainer.cancelling import TrainingInterrupted, wish_to_cancel
from trainer.datasets import read_manifest
from trainer.latest import promote_by_gate, read_history, read_latest
from trainer.launcher import Ended, EngineUnavailable
from trainer.publishing import publish
from trainer.training_manifest import (
    Started,
    how_it_ended,
    read_started,
    read_training,
    write_started,
)

pytestmark = pytest.mark.long

TOO_DEEP = '{"a":' + 5000 * "[" + 5000 * "]" + "}"


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
        "adapter/adapter_model.safetensors", "metrics.jsonl", "training.log", "result.json",
        "README.md",
    }  # fmt: skip
    assert bench.request.archive.is_file()
    assert (bench.request.models / "latest").resolve() == bench.folder.resolve()
    assert [step for step, _ in bench.steps] == whole_life()
    assert bench.request.is_done()
    assert f"trained {bench.request.dataset} base" in (bench.folder / "training.log").read_text()


@pytest.mark.parametrize("name", ["result.json", "manifest.json", ".started.json"])
def test_a_link_in_its_place_is_not_read(name: str, bench: Bench, tmp_path: Path) -> None:
    """A script may have left it, to a file that the trainer may read and the script may not."""
    bench.run()
    started = Started(datetime(2026, 11, 30, tzinfo=UTC), "process", "python", "tag", "base", [])
    write_started(bench.folder, started)
    secret = tmp_path / "secret.json"
    (bench.folder / name).rename(secret)
    (bench.folder / name).symlink_to(secret)

    if name == "result.json":
        plan = training._plan(bench.request, bench.settings())
        dataset = read_manifest(bench.request.dataset)
        manifest = how_it_ended(plan, dataset, started, Ended(0))
        assert (manifest.figures, manifest.exit_code) == (None, 14)
        assert "result.json" not in manifest.files
    elif name == "manifest.json":
        assert read_training(bench.folder) is None
    else:
        assert read_started(bench.folder) is None


def test_a_pipe_in_place_of_the_log_holds_up_nothing(bench: Bench) -> None:
    bench.run()
    started = Started(datetime(2026, 11, 30, tzinfo=UTC), "process", "python", "tag", "base", [])
    (bench.folder / "training.log").unlink()
    os.mkfifo(bench.folder / "training.log")
    plan = training._plan(bench.request, bench.settings())

    manifest = how_it_ended(plan, read_manifest(bench.request.dataset), started, Ended(3))
    assert manifest.exit_code == 3
    assert "training.log" not in manifest.files


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
        ("--killed", 137, "it was killed, most often for want of memory"),
        (
            "--no-such-flag",
            2,
            "a flag in PAIRSTREAM_TRAINING_ARGS or a setting of the recipe is wrong",
        ),
        ("--result NaN", 14, "it left no adapter or no result.json"),
        ("--result {", 14, "it left no adapter or no result.json"),
        pytest.param(
            f"--result '{TOO_DEEP}'", 14, "it left no adapter or no result.json", id="too deep"
        ),
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
    bench.leave(in_background())
    assert bench.counts() == ["started"]

    followed = in_background()
    (bench.root / "gate").touch()

    assert followed.result(30).succeeded
    assert bench.counts() == ["started", "ended"]


def test_a_trainer_that_stops_while_a_gate_is_asked_has_it_asked_again(
    bench: Bench, tmp_path: Path
) -> None:
    asked, gate = tmp_path / "asked", tmp_path / "let-go"
    code = (
        f"import os, time; open({str(asked)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.02)\n"
        "print('fine')"
    )
    command = shlex.join([sys.executable, "-c", code])
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench.run, gate_command=command)
        wait_for(lambda: asked.exists() and asked.read_text().endswith("\n"))
        bench.stop.set()
        with pytest.raises(TrainingInterrupted):
            running.result(30)
    assert not (bench.folder / "manifest.json").exists()
    assert not is_running(int(asked.read_text()))
    assert read_latest(bench.request.models) is None

    bench.stop = threading.Event()
    gate.touch()
    manifest = bench.run(gate_command=command)

    assert manifest.gate is not None
    assert manifest.gate.told == "the training measured nothing to judge by; command: fine"
    assert len(asked.read_text().splitlines()) == 2
    assert bench.counts() == ["started", "ended"]
    assert read_latest(bench.request.models) == bench.request.training_id


def test_a_refused_candidate_is_archived_and_told_and_the_latest_stays(bench: Bench) -> None:
    promote_by_gate(make_models(bench), "dpo-before", "well")

    manifest = bench.run(f"--result {shlex.quote(REFUSED)}")

    assert manifest.succeeded
    assert manifest.gate is not None
    assert not manifest.gate.passed
    assert bench.request.archive.is_file()
    assert [step for step, _ in bench.steps] == whole_life("refused")
    assert dict(bench.steps)["refused"] == "margin: 0.1, base 0.2, wanted more than 0.2"
    assert read_latest(bench.request.models) == "dpo-before"
    told = json.loads((bench.folder / "manifest.json").read_bytes())["gate"]
    assert [check["name"] for check in told["checks"] if check["passed"] is False] == ["margin"]


def test_a_candidate_that_passes_takes_the_place_of_the_latest(bench: Bench) -> None:
    promote_by_gate(make_models(bench), "dpo-before", "well")

    bench.run(f"--result {shlex.quote(PASSING)}")

    assert read_latest(bench.request.models) == bench.request.training_id
    assert read_history(bench.request.models)[-1].before == "dpo-before"


def test_what_ended_before_there_was_a_gate_is_published_as_it_was(bench: Bench) -> None:
    manifest = bench.run()
    before = msgspec.structs.replace(manifest, gate=None)
    steps: list[tuple[str, str | None]] = []
    models = bench.root / "older"
    shutil.copytree(bench.folder, models / manifest.training_id)

    publish(models, before, lambda step, why: steps.append((step, why)))

    digest = hashlib.sha256((models / f"{manifest.training_id}.tar.gz").read_bytes()).hexdigest()
    assert steps == [
        ("gated", "it was trained before there was a gate"),
        ("archived", f"sha256 {digest}"),
        ("promoted", "it was trained before there was a gate"),
    ]
    assert read_latest(models) == manifest.training_id


def make_models(bench: Bench) -> Path:
    bench.request.models.mkdir(exist_ok=True)
    return bench.request.models


def test_the_first_start_is_what_the_manifest_tells(bench: Bench, in_background: Submit) -> None:
    bench.leave(in_background())
    started = read_started(bench.folder)
    assert started is not None

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
    bench.leave(in_background())
    started = read_started(bench.folder)
    assert started is not None
    write_started(bench.folder, msgspec.structs.replace(started, launcher="docker"))

    with pytest.raises(PairstreamError, match="was started by PAIRSTREAM_LAUNCHER=docker"):
        bench.run()
    assert bench.counts() == ["started"]


def test_a_training_does_not_go_on_with_another_dataset_of_the_same_name(
    bench: Bench, in_background: Submit
) -> None:
    """`replay --out` may have made it anew, while the script went on with the first one."""
    first = read_manifest(bench.request.dataset)
    bench.leave(in_background())
    shutil.rmtree(bench.request.dataset)
    other = publish_pairs(bench.root / "other", make_pairs(5))
    (other.datasets / "ds-000001").rename(bench.request.dataset)
    (bench.root / "gate").touch()

    with pytest.raises(
        PairstreamError, match=r"another dataset of the name ds-000001.* cancel dpo"
    ):
        bench.run()
    assert not (bench.folder / "manifest.json").exists()

    wish_to_cancel(bench.folder, "it was another dataset")
    manifest = bench.run()
    assert manifest.why == "cancelled: it was another dataset"
    assert manifest.dataset_sha256 == first.hashes
    assert bench.request.is_done()
    assert bench.counts().count("started") == 1


def test_a_training_that_an_older_trainer_started_goes_on(
    bench: Bench, in_background: Submit
) -> None:
    bench.leave(in_background())
    record = bench.folder / ".started.json"
    known = json.loads(record.read_bytes())
    assert known.pop("dataset_sha256") == read_manifest(bench.request.dataset).hashes
    record.write_text(json.dumps(known))
    (bench.root / "gate").touch()

    assert bench.run().dataset_sha256 == read_manifest(bench.request.dataset).hashes
    assert bench.counts() == ["started", "ended"]


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
