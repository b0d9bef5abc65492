"""The next round starts with `models/latest` as it was when its training began."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.errors import PairstreamError
from schemas.settings import TrainingSettings
from tests.trainer.bench import Bench, Submit
from trainer.docker_launcher import container_spec
from trainer.launcher import Previous
from trainer.rounds import previous_round
from trainer.training import _plan
from trainer.training_manifest import Started, write_started


def make_latest(models: Path, training_id: str, base: str = "base") -> None:
    adapter = models / training_id / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    latest = models / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(training_id)


def wanted(how: str) -> TrainingSettings:
    return TrainingSettings(training_next_round=how)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["continue", "merge"])
def test_first_round_is_fresh_and_the_next_takes_the_latest(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "dpo-2"

    assert previous_round(folder, wanted(how), "base") is None
    make_latest(tmp_path, "dpo-1")
    assert previous_round(folder, wanted(how), "base") == Previous("dpo-1", how)
    assert previous_round(folder, wanted("fresh"), "base") is None


def test_adapter_of_another_base_or_none_is_refused(tmp_path: Path) -> None:
    make_latest(tmp_path, "dpo-1", "another")
    with pytest.raises(PairstreamError, match="dpo-1 is an adapter of another, not of base"):
        previous_round(tmp_path / "dpo-2", wanted("merge"), "base")

    (tmp_path / "dpo-1" / "adapter" / "adapter_config.json").unlink()
    with pytest.raises(PairstreamError, match="PAIRSTREAM_TRAINING_NEXT_ROUND=fresh"):
        previous_round(tmp_path / "dpo-2", wanted("merge"), "base")


@pytest.mark.parametrize("led", ["../planted", "..", ""])
def test_a_record_that_leads_out_of_the_models_is_refused(led: str, tmp_path: Path) -> None:
    """Its container may write the record of how a training was started."""
    make_latest(tmp_path, "planted")
    folder = tmp_path / "models" / "dpo-1"
    folder.mkdir(parents=True)
    started = Started(
        datetime(2026, 11, 30, tzinfo=UTC), "docker", "image", "tag", "base", [],
        previous=Previous(led, "continue"),
    )  # fmt: skip
    write_started(folder, started)

    with pytest.raises(PairstreamError, match="is no training"):
        previous_round(folder, wanted("continue"), "base")


@pytest.mark.parametrize(
    ("how", "flag"), [("continue", "--init-adapter"), ("merge", "--merge-first")]
)
def test_container_sees_the_adapter_read_only(bench: Bench, how: str, flag: str) -> None:
    make_latest(bench.request.models, "dpo-1")
    plan = _plan(bench.request, bench.settings(training_next_round=how))
    spec = container_spec(plan, gpu=False, user="1:1")

    [previous] = [mount for mount in spec["mounts"] if mount["Target"] == "/previous"]
    assert previous["Source"] == str(bench.request.models / "dpo-1" / "adapter")
    assert previous["ReadOnly"]
    assert spec["command"][spec["command"].index(flag) + 1] == "/previous"
    fresh = container_spec(_plan(bench.request, bench.settings()), gpu=False, user="1:1")
    assert "/previous" not in str(fresh)


def test_restart_takes_what_the_first_start_took(bench: Bench, in_background: Submit) -> None:
    make_latest(bench.request.models, "dpo-1")
    bench.leave(in_background(training_next_round="continue"))
    make_latest(bench.request.models, "dpo-9")
    (bench.root / "gate").touch()

    manifest = bench.run(training_next_round="fresh")

    assert manifest.succeeded
    assert manifest.previous == Previous("dpo-1", "continue")
    assert "| previous round | `dpo-1 (continue)` |" in (bench.folder / "README.md").read_text()
