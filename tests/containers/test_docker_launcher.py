"""Containers of trainings: one for each, walled in, followed, limited, removed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from docker import DockerClient

from tests.containers.conftest import MakePlan
from tests.containers.small_image import small_context
from tests.trainer.launcher_promises import (
    followed,
    nothing_to_say,
    prepared_and_started,
)
from tests.waiting import wait_for
from trainer.docker_launcher import DockerLauncher, container_name, container_spec
from trainer.image import IMAGE_LABEL, SCRIPT, BuildContext
from trainer.launcher import Ended, EngineUnavailable, Plan

pytestmark = pytest.mark.docker


def run_to_end(launcher: DockerLauncher, plan: Plan) -> Ended:
    prepared_and_started(launcher, plan)
    return followed(launcher, plan)


def test_an_image_is_built_once_for_the_same_files_and_anew_for_others(
    make_plan: MakePlan,
) -> None:
    said: list[str] = []
    launcher = DockerLauncher()
    first = launcher.prepare(make_plan(context=small_context("once")), said.append)
    assert any(line.startswith("Step ") for line in said)

    said.clear()
    assert launcher.prepare(make_plan(context=small_context("once")), said.append) == first
    assert not any(line.startswith("Step ") for line in said)
    assert launcher.prepare(make_plan(context=small_context("other")), said.append) != first


@pytest.mark.parametrize(("kept", "left"), [(0, 0), (1, 1), (2, 2)])
def test_images_beyond_the_newest_kept_ones_are_removed(
    make_plan: MakePlan, docker_engine: DockerClient, monkeypatch: pytest.MonkeyPatch,
    kept: int, left: int,
) -> None:  # fmt: skip
    label = f"{IMAGE_LABEL}-test"
    monkeypatch.setattr("trainer.docker_launcher.IMAGE_LABEL", label)
    launcher = DockerLauncher()
    for mark in ("a", "b", "c"):
        launcher.prepare(make_plan(context=small_context(f"{kept}{mark}")), nothing_to_say)

    launcher.clean_up(make_plan(keep_images=kept))

    images = docker_engine.images.list(filters={"label": label})
    assert len(images) == left
    if kept:
        newest = docker_engine.images.get(small_context(f"{kept}c").tag)
        assert newest.id in {image.id for image in images}
    for image in images:
        docker_engine.images.remove(image.id, force=True)


def test_the_image_just_used_is_kept_before_newer_ones(
    make_plan: MakePlan, docker_engine: DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.docker_launcher.IMAGE_LABEL", f"{IMAGE_LABEL}-used")
    launcher, used = DockerLauncher(), small_context("used")
    for context in (used, small_context("newer")):
        launcher.prepare(make_plan(context=context), nothing_to_say)

    launcher.clean_up(make_plan(context=used, keep_images=1))

    images = docker_engine.images.list(filters={"label": f"{IMAGE_LABEL}-used"})
    assert [image.tags for image in images] == [[used.tag]]
    docker_engine.images.remove(images[0].id, force=True)


def test_what_a_build_cannot_do_is_said_with_the_builders_words(make_plan: MakePlan) -> None:
    for dockerfile, words in ((b"FROM python:3.10-slim\nRUN exit 3\n", "3"), (b"FRM x\n", "FRM")):
        context = BuildContext({**small_context().files, "Dockerfile": dockerfile})
        with pytest.raises(EngineUnavailable, match=words):
            DockerLauncher().prepare(make_plan(context=context), nothing_to_say)


WALLS = """\
import json, os, socket
def tried(what):
    try:
        what()
    except OSError as error:
        return type(error).__name__
    return "done"
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
found = {
    "user": os.getuid(),
    "capabilities": int(status["CapEff"], 16),
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "root": tried(lambda: open("/anything", "w")),
    "dataset": tried(lambda: open("/dataset/anything", "w")),
    "base_model": tried(lambda: open("/base-model/anything", "w")),
    "tmp": tried(lambda: open("/tmp/anything", "w")),
    "output": tried(lambda: open("/output/anything", "w")),
    "tmp_runs_programs": not os.statvfs("/tmp").f_flag & os.ST_NOEXEC,
}
print(json.dumps(found))
"""


def test_the_container_has_walls(make_plan: MakePlan, tmp_path: Path) -> None:
    context = BuildContext({**small_context().files, SCRIPT: WALLS.encode()})
    launcher, plan = DockerLauncher(), make_plan(context=context)

    assert run_to_end(launcher, plan) == Ended(0)

    found = json.loads((plan.folder / "training.log").read_text())
    assert found.pop("user") != 0
    assert found == {
        "capabilities": 0,
        "no_new_privileges": "1",
        "interfaces": ["lo"],
        "root": "OSError",
        "dataset": "OSError",
        "base_model": "OSError",
        "tmp": "done",
        "output": "done",
        "tmp_runs_programs": True,
    }


def test_a_dataset_that_docker_would_not_name_a_container_after_is_trained(
    make_plan: MakePlan,
) -> None:
    assert run_to_end(DockerLauncher(), replace(make_plan(), training_id="dpo-my data")) == Ended(0)


def test_folders_may_have_a_colon_in_their_names(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan()
    odd = tmp_path / "run:2026-11-30T10:00"
    plan.folder.rename(odd)

    assert run_to_end(DockerLauncher(), replace(plan, folder=odd)) == Ended(0)
    assert (odd / "result.json").is_file()


def test_a_folder_that_the_engine_does_not_have_is_said(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"

    with pytest.raises(EngineUnavailable, match=r"lacks a folder .*/elsewhere.* same paths"):
        prepared_and_started(DockerLauncher(), replace(make_plan(), base_model=elsewhere))
    assert not elsewhere.exists()


def test_limits_and_labels_are_in_the_containers_spec(make_plan: MakePlan) -> None:
    plan = make_plan(training_memory="512m", training_cpus=1.5)

    spec = container_spec(plan, gpu=True, user="1000:1000")

    assert spec["mem_limit"] == spec["memswap_limit"] == "512m"
    assert spec["nano_cpus"] == 1_500_000_000
    assert spec["pids_limit"] > 0
    assert spec["device_requests"][0]["Count"] == 1
    assert plan.training_id in spec["labels"].values()
    assert plan.directory_id in spec["labels"].values()
    assert "device_requests" not in container_spec(plan, gpu=False, user="1000:1000")


def test_a_training_that_needs_more_memory_than_it_may_is_told_so(make_plan: MakePlan) -> None:
    hungry = b"import sys\nhoard = [bytearray(1 << 20) for _ in range(4096)]\n"
    context = BuildContext({**small_context().files, SCRIPT: hungry})

    ended = run_to_end(DockerLauncher(), make_plan(context=context, training_memory="64m"))

    assert ended.code == 137
    assert ended.why is not None
    assert "memory" in ended.why


def test_a_training_is_asked_to_end_and_a_removed_container_counts_as_killed(
    make_plan: MakePlan, docker_engine: DockerClient
) -> None:
    plan = make_plan("--until", "/output/never")
    launcher = DockerLauncher()
    prepared_and_started(launcher, plan)
    wait_for((plan.folder / "starts").exists)

    launcher.stop(plan)
    stopped = launcher.poll(plan)
    assert stopped is not None
    assert (stopped.code, stopped.interrupted) == (143, True)
    docker_engine.containers.get(container_name(plan)).remove()
    removed = launcher.poll(plan)
    assert removed is not None
    assert (removed.code, removed.interrupted) == (137, False)


def test_a_gpu_that_is_asked_for_and_not_there_is_told_and_leaves_no_container(
    make_plan: MakePlan, docker_engine: DockerClient
) -> None:
    if "nvidia" in docker_engine.info().get("Runtimes", {}):
        pytest.skip("this engine has GPUs: run this where it has none")
    plan = make_plan(training_device="cuda")
    launcher = DockerLauncher()
    launcher.prepare(plan, nothing_to_say)

    with pytest.raises(EngineUnavailable, match="PAIRSTREAM_TRAINING_DEVICE=cpu"):
        launcher.start(plan)

    assert docker_engine.containers.list(all=True, filters={"name": container_name(plan)}) == []


def test_an_engine_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")

    with pytest.raises(EngineUnavailable, match="PAIRSTREAM_LAUNCHER=process"):
        DockerLauncher()
