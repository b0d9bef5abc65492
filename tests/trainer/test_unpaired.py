"""Datasets of scored rows: the same rows give the same bytes, each run on one side."""

import random
from pathlib import Path

import orjson
import pytest

from schemas.rows import ScoredRow, ScoredRowKind, assistant_message, row_id, user_message
from trainer.content import Content
from trainer.selection import CutSettings, is_held_out
from trainer.unpaired import ID_PLACES, labelled_line, member_line, write_groups, write_labelled

HALF = CutSettings(eval_fraction=0.5)


def scored(run: str, kind: ScoredRowKind, score: float, prompt: str, **ids: str) -> ScoredRow:
    attempt = 1 if score else None
    return ScoredRow(
        row_id=row_id(run, "s-1", kind, attempt), run_id=run, strategy_id="s-1", kind=kind,
        attempt=attempt, prompt=user_message(prompt), response=assistant_message(f"{kind} {run}"),
        score=score, agent_id="a", task_id=ids.get("task_id"), policy_id="base",
    )  # fmt: skip


def run_rows(number: int) -> list[ScoredRow]:
    """Two of three runs succeed; strategies share one prompt, and codes have their own."""
    run = f"r-{number}"
    if number % 3 == 0:
        return [scored(run, "strategy_without_effect", 0.0, "Propose one.")]
    if number % 3 == 1:
        return [scored(run, "strategy_not_runnable", 0.0, "Look around.")]
    score = float(number)
    return [
        scored(run, "strategy_success", score, "Propose one."),
        scored(run, "code_success", score, f"Do {number}."),
    ]


ROWS = [row for number in range(30) for row in run_rows(number)]


def read(folder: Path) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    train, held_out = (
        [orjson.loads(line) for line in (folder / name).read_bytes().splitlines()]
        for name in ("train.jsonl", "eval.jsonl")
    )
    return train, held_out


def test_lines_begin_with_the_id_that_they_are_sorted_by() -> None:
    row = ROWS[0]

    assert labelled_line(row)[ID_PLACES["kto"]] == row.row_id.encode()
    member = member_line(row)
    group_id = orjson.loads(member)["group_id"]
    assert member[ID_PLACES["groups"]] == f'{group_id}","row_id":"{row.row_id}'.encode()
    assert group_id == orjson.loads(member_line(ROWS[4]))["group_id"]


def test_what_succeeded_is_good_and_all_else_is_bad(tmp_path: Path) -> None:
    content = write_labelled(tmp_path, sorted(map(labelled_line, ROWS)), HALF)
    train, held_out = read(tmp_path)

    assert content.pairs == len(train) + len(held_out) == len(ROWS)
    assert content.rules == {
        "code_success": 10, "strategy_not_runnable": 10, "strategy_success": 10,
        "strategy_without_effect": 10,
    }  # fmt: skip
    assert content.runs == 30
    for row in (*train, *held_out):
        assert row["label"] is (row["kind"] in ("code_success", "strategy_success"))
        assert list(row) == [
            "row_id", "run_id", "strategy_id", "kind", "attempt", "prompt", "completion", "label",
            "score", "agent_id", "task_id", "policy_id",
        ]  # fmt: skip
    for side, is_held in ((train, False), (held_out, True)):
        assert side
        assert [row["row_id"] for row in side] == sorted(str(row["row_id"]) for row in side)
        assert all(is_held_out(str(row["run_id"]), 0.5) is is_held for row in side)


def test_groups_hold_all_responses_of_a_side_to_a_prompt(tmp_path: Path) -> None:
    content = write_groups(tmp_path, sorted(map(member_line, ROWS)), HALF)
    train, held_out = read(tmp_path)

    assert content.pairs == len(ROWS)
    for side, is_held in ((train, False), (held_out, True)):
        prompts = [orjson.dumps(group["prompt"]) for group in side]
        assert len(prompts) == len(set(prompts))
        assert [group["group_id"] for group in side] == sorted(str(g["group_id"]) for g in side)
        [proposals] = [g for g in side if g["prompt"][0]["content"] == "Propose one."]  # type: ignore[index]
        wanted = sorted(
            (
                row
                for row in ROWS
                if row.prompt[0].content == "Propose one."
                and is_held_out(row.run_id, 0.5) is is_held
            ),
            key=lambda row: row.row_id,
        )
        assert proposals["row_ids"] == [row.row_id for row in wanted]
        assert proposals["run_ids"] == [row.run_id for row in wanted]
        assert proposals["scores"] == [row.score for row in wanted]
        assert proposals["policy_ids"] == ["base"] * len(wanted)
        assert proposals["responses"] == [
            [{"role": "assistant", "content": row.response[0].content}] for row in wanted
        ]


@pytest.mark.parametrize(("line", "write"), [(labelled_line, write_labelled),
                                             (member_line, write_groups)])  # fmt: skip
def test_the_same_rows_give_the_same_bytes(line: object, write: object, tmp_path: Path) -> None:
    found: list[Content] = []
    for seed in range(3):
        rows = list(ROWS)
        random.Random(seed).shuffle(rows)
        (tmp_path / str(seed)).mkdir()
        found.append(write(tmp_path / str(seed), sorted(map(line, rows)), HALF))  # type: ignore[operator,call-overload]
    assert found[0] == found[1] == found[2]


def test_runs_are_held_out_by_task_where_that_is_wanted(tmp_path: Path) -> None:
    rows = [
        scored(f"r-{n}", "strategy_success", 1.0, "Go.", task_id=f"t-{n % 4}") for n in range(40)
    ]
    by_task = CutSettings(eval_fraction=0.5, held_out_by="task")
    write_labelled(tmp_path, sorted(map(labelled_line, rows)), by_task)
    train, held_out = ({row["task_id"] for row in side} for side in read(tmp_path))

    assert train
    assert held_out
    assert not train & held_out


def test_where_all_would_be_held_out_none_is(tmp_path: Path) -> None:
    rows = [labelled_line(scored("r-1", "strategy_success", 1.0, "Go."))]
    fraction = CutSettings(eval_fraction=0.999999999)

    assert write_labelled(tmp_path, rows, fraction).files["train.jsonl"].rows == 1
    assert read(tmp_path)[1] == []
