"""`pairstream replay --from scored-rows`: what trains without pairs, from the topic."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pairstream.__main__ import cli
from schemas.errors import PairstreamError
from schemas.topics import SCORED_ROWS
from tests.commands.deployment import (
    Deployment,
    attempted,
    finished,
    mixed_run,
    proposed,
    started,
)

REPLAY = ("replay", "--from", "scored-rows")


def failed_run(run_id: str) -> list[dict[str, Any]]:
    """Gives no pair, and one scored row: its code ran and freed nothing."""
    return [started(run_id), proposed(run_id), attempted(run_id, 1, 0), finished(run_id)]


@pytest.fixture
def settled(deployment: Deployment) -> Deployment:
    """Ten runs that succeeded (two rows each) and ten that did not (one row each)."""
    for number in range(10):
        deployment.say(*mixed_run(f"good-{number}"), *failed_run(f"bad-{number}"))
    deployment.settle()
    return deployment


def lines_of(folder: Path) -> list[bytes]:
    return [
        line
        for name in ("train.jsonl", "eval.jsonl")
        for line in (folder / name).read_bytes().splitlines()
    ]


def test_runs_without_a_pair_give_rows_that_can_be_learnt_from(
    settled: Deployment, tmp_path: Path
) -> None:
    topic = settled.names.topic(SCORED_ROWS)
    again = settled.records(topic)[0]
    settled.send(topic, again.key(), again.value())
    settled.send(topic, b"r-1", b'{"no": "row"}')

    out = tmp_path / "kto"
    told = settled.run(*REPLAY, "--kind", "kto", "--out", out, "--eval-fraction", 0.4)

    assert "30 scored rows (20 good ones) of 20 runs" in told
    assert "1 invalid records left out" in told
    rows = [json.loads(line) for line in lines_of(out)]
    assert len({row["row_id"] for row in rows}) == len(rows) == 30
    assert {row["run_id"].partition("-")[0] for row in rows if not row["label"]} == {"bad"}
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["kind"], manifest["pairs"], manifest["runs"]) == ("kto", 30, 20)
    assert manifest["rules"] == {
        "code_success": 10, "strategy_success": 10, "strategy_without_effect": 10
    }  # fmt: skip
    assert sum(r["to"] - r["from"] for r in manifest["offsets"].values()) == 32
    assert manifest["source"]["topic"] == topic
    assert 0 < manifest["files"]["eval.jsonl"]["rows"] < 30

    settled.run(*REPLAY, "--kind", "kto", "--out", tmp_path / "again", "--eval-fraction", 0.4)
    for name in ("train.jsonl", "eval.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()


def test_groups_put_the_responses_to_a_prompt_together(settled: Deployment, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    told = settled.run(*REPLAY, "--kind", "groups", "--out", one)
    settled.run(*REPLAY, "--kind", "groups", "--out", other)

    assert "30 groups with 30 responses of 20 runs" in told  # each run has a prompt of its own
    assert lines_of(one) == lines_of(other)
    assert all(len(json.loads(line)["responses"]) == 1 for line in lines_of(one))


def test_forgotten_runs_give_none(settled: Deployment, tmp_path: Path) -> None:
    settled.run("forget", "good-3", "bad-5", "--yes")
    for kind, told in (
        ("kto", "27 scored rows (18 good ones) of 18 runs"),
        ("groups", "of 18 runs"),
    ):
        out = tmp_path / kind
        assert told in settled.run(*REPLAY, "--kind", kind, "--out", out)
        assert not any(b'"good-3"' in line or b'"bad-5"' in line for line in lines_of(out))


def test_what_was_cut_for_another_use_is_named_as_such(settled: Deployment, tmp_path: Path) -> None:
    groups, kto = tmp_path / "groups", tmp_path / "kto"
    settled.run(*REPLAY, "--kind", "groups", "--out", groups)
    settled.run(*REPLAY, "--kind", "kto", "--out", kto)

    with pytest.raises(PairstreamError, match="holds no pairs but kto"):
        settled.run("dataset", "show", kto)
    process = ("--launcher", "process", "--base-model", tmp_path)
    with pytest.raises(PairstreamError, match="groups of responses, which are for a trainer of"):
        settled.run("train", "--method", "kto", groups, *process)
    done = CliRunner().invoke(cli, ["train", str(kto), "--launcher", "process"], env=settled.env)
    assert done.exit_code == 2
    assert "is trained on with --method kto, not dpo" in done.output


@pytest.mark.parametrize(
    "words",
    [
        ("--from", "scored-rows"),
        ("--from", "pairs", "--kind", "kto"),
        ("--from", "scored-rows", "--kind", "kto", "--dataset", "."),
    ],
)
def test_words_that_do_not_go_together_are_wrong_usage(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["replay", "--out", "out", *words, "--data-dir", str(tmp_path / "data")]

    assert CliRunner().invoke(cli, arguments).exit_code == 2
    assert list(tmp_path.iterdir()) == []
