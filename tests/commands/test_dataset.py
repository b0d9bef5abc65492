"""`pairstream dataset`: what datasets hold, how they differ, and what is written elsewhere."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from pairstream.__main__ import cli
from pairstream.token_counts import count_tokens
from schemas.errors import PairstreamError
from schemas.rows import Pair
from tests.commands.deployment import write_ended_training
from tests.trainer.invariants import lines, manifest, snapshot
from tests.trainer.made_pairs import line, make_pairs
from tests.trainer.stand_in import publish
from trainer.layout import DataDir

FIRST, SECOND = "ds-000001", "ds-000002"

PAIRS = make_pairs(24)
LATER = [replace(pair, agent_id=f"a-{n}") for n, pair in enumerate(make_pairs(9, mark="later"))]


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """Two datasets, the first of them trained."""
    data = publish(tmp_path / "data", PAIRS)
    publish(data.root, LATER, first=len(PAIRS))
    write_ended_training(data, "dpo-ds-000001", FIRST, exit_code=13, why="the loss is no number")
    return data


@pytest.fixture
def run(data: DataDir) -> Callable[..., str]:
    def run(*arguments: object) -> str:
        words = ["dataset", *map(str, arguments), "--data-dir", str(data.root)]
        done = CliRunner().invoke(cli, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def as_older_trainers_wrote_it(dataset: Path) -> None:
    """A manifest without what has been added since."""
    path = dataset / "manifest.json"
    told = json.loads(path.read_bytes())
    fraction = told["settings"]["eval_fraction"]
    kept = {name: value for name, value in told.items() if name != "composition"}
    path.chmod(0o644)
    path.write_text(json.dumps({**kept, "settings": {"eval_fraction": fraction}}))


# --- List and show -------------------------------------------------------------------------------


def test_list_has_a_line_for_each_dataset_with_its_trainings(run: Callable[..., str]) -> None:
    head, first, second = run("list").splitlines()

    assert head.split("  ")[0] == "dataset"
    assert first.startswith(FIRST)
    assert first.endswith("dpo-ds-000001 failed")
    assert " 32 " in first
    assert " 50 %" in first
    assert second.split()[-2:] == [FIRST, "-"]


def test_list_as_json_has_the_same_facts(run: Callable[..., str]) -> None:
    first, second = json.loads(run("list", "--json"))["datasets"]

    assert (first["name"], first["parent"], second["parent"]) == (FIRST, None, FIRST)
    assert (first["pairs"], first["garbled"]) == (32, 16)
    assert first["trainings"] == [{"training_id": "dpo-ds-000001", "state": "failed"}]
    assert second["trainings"] == []


def test_where_nothing_was_cut_list_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["dataset", "list", "--data-dir", str(tmp_path)])

    assert done.stdout == f"no dataset in {tmp_path}: the trainer has cut none yet\n"


def test_show_tells_composition_files_and_offsets(run: Callable[..., str], data: DataDir) -> None:
    text = run("show", SECOND)
    told = json.loads(run("show", SECOND, "--json"))

    assert f"offsets           0/{len(PAIRS)} to 0/{len(PAIRS) + len(LATER) - 1}" in text
    assert "a-0 1, a-1 1" in text
    assert told["manifest"]["files"]["train.jsonl"]["sha256"] in text
    assert told["manifest"] == json.loads((data.datasets / SECOND / "manifest.json").read_bytes())
    assert told["composition"]["agents"]["named"] == {f"a-{n}": 1 for n in range(len(LATER))}
    assert told["tokens"] is None


def test_a_manifest_of_an_older_trainer_is_read_and_counted_anew(
    run: Callable[..., str], data: DataDir
) -> None:
    before = json.loads(run("show", FIRST, "--json"))
    as_older_trainers_wrote_it(data.datasets / FIRST)

    after = json.loads(run("show", FIRST, "--json"))
    [listed, _] = json.loads(run("list", "--json"))["datasets"]

    assert after["manifest"]["composition"] is None
    assert after["composition"] == before["composition"]
    assert after["manifest"]["settings"] == before["manifest"]["settings"]
    assert listed["garbled"] is None


def test_show_tells_what_was_left_out_and_what_had_waited(tmp_path: Path) -> None:
    data = publish(tmp_path / "data", PAIRS, max_garbled_share=0.3, min_score_gap=1.0)
    publish(data.root, LATER, first=len(PAIRS), max_garbled_share=0.3)
    words = ["dataset", "show", SECOND, "--data-dir", str(data.root)]
    first, second = (manifest(data.datasets / name) for name in (FIRST, SECOND))
    waits = second["left_out"]["garbled_share"]

    assert (
        f"left out          garbled_share {waits}; {waits} of them wait for the next dataset; "
        f"{first['left_out']['garbled_share']} pairs had waited for this one\n"
    ) in CliRunner().invoke(cli, words).stdout
    assert "max_garbled_share 0.3" in CliRunner().invoke(cli, words).stdout


def test_agents_text_steers_no_terminal(tmp_path: Path) -> None:
    data = publish(tmp_path, [replace(PAIRS[0], agent_id="\x1b[2J\nds-000009")])
    words = ["dataset", "show", FIRST, "--data-dir", str(data.root)]

    assert r"agents            \x1b[2J\nds-000009 1" in CliRunner().invoke(cli, words).stdout


@pytest.mark.parametrize("command", ["show", "export"])
def test_a_damaged_dataset_is_named_and_nothing_is_written(
    command: str, run: Callable[..., str], data: DataDir, tmp_path: Path
) -> None:
    path = data.datasets / FIRST / "train.jsonl"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"free(", b"Free(", 1))
    more = ["--format", "trl", "--out", tmp_path / "out"] if command == "export" else []

    with pytest.raises(PairstreamError, match=r"train\.jsonl is not what its manifest says"):
        run(command, FIRST, *more)

    assert not (tmp_path / "out").exists()


def test_a_name_that_is_none_is_told_with_those_that_are(run: Callable[..., str]) -> None:
    with pytest.raises(PairstreamError, match=r"ds-7 is neither a dataset .* from ds-000001 to"):
        run("show", "ds-7")


def test_a_folder_without_a_tokenizer_is_named(run: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(PairstreamError, match=r"tokenizer\.json is not there"):
        run("show", FIRST, "--tokens", tmp_path)


def test_pairs_without_a_prompt_are_counted_as_dropped() -> None:
    texts = {"prompt": ["ask"], "chosen": ["good"], "rejected": ["a long one"]}
    row = {side: [{"role": "user", "content": text} for text in texts[side]] for side in texts}
    rows = [row, {**row, "prompt": []}, row]

    told = count_tokens(rows, len, tokenizer="letters", max_length=5)

    assert (told.without_prompt, told.prompts_too_long) == (1, 0)
    assert (told.chosen_too_long, told.rejected_too_long) == (2, 2)
    assert told.prompt is not None
    assert told.prompt.min == 3


# --- Diff ----------------------------------------------------------------------------------------


def test_diff_counts_by_rule_and_names_settings_and_ids(
    run: Callable[..., str], data: DataDir, tmp_path: Path
) -> None:
    kept, changed = PAIRS[:20], replace(PAIRS[20], agent_id="another")
    other = publish(tmp_path / "other", [*kept, changed, *LATER[:2]]).datasets / FIRST

    found = json.loads(run("diff", FIRST, other, "--ids", "--json"))
    text = run("diff", FIRST, other, "--ids")

    assert (found["only_a"], found["only_b"], found["both"], found["changed"]) == (11, 2, 21, 1)
    assert found["ids"] == {
        "only_a": sorted(pair.pair_id for pair in PAIRS[21:]),
        "only_b": sorted(pair.pair_id for pair in LATER[:2]),
        "changed": [changed.pair_id],
    }
    by_rule = found["rules"]["mixed_code"]
    assert by_rule["both"] == sum(pair.rule == "mixed_code" for pair in PAIRS[:21])
    assert text.startswith(f"pairs: 11 only in {FIRST}, 2 only in ")
    assert f"\n+ {min(pair.pair_id for pair in LATER[:2])}\n" in text
    assert found["settings"] == {}


def test_a_dataset_differs_from_itself_in_nothing(run: Callable[..., str]) -> None:
    found = json.loads(run("diff", FIRST, FIRST, "--json"))

    assert (found["only_a"], found["only_b"], found["both"]) == (0, 0, len(PAIRS))
    assert (found["changed"], found["settings"], found["ids"]) == (0, {}, None)


# --- Export --------------------------------------------------------------------------------------


def exported(path: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in path.read_bytes().splitlines()]


def rows_of(data: DataDir, name: str) -> list[Any]:
    return [json.loads(row) for row in (data.datasets / FIRST / name).read_bytes().splitlines()]


def test_trl_rows_are_prompt_chosen_and_rejected_and_nothing_else(
    run: Callable[..., str], data: DataDir, tmp_path: Path
) -> None:
    run("export", FIRST, "--format", "trl", "--out", tmp_path / "out")

    for name in ("train.jsonl", "eval.jsonl"):
        assert exported(tmp_path / "out" / name) == [
            {side: row[side] for side in ("prompt", "chosen", "rejected")}
            for row in rows_of(data, name)
        ]


def test_kto_rows_are_both_sides_of_each_pair(
    run: Callable[..., str], data: DataDir, tmp_path: Path
) -> None:
    run("export", FIRST, "--format", "kto", "--out", tmp_path / "out")

    rows = exported(tmp_path / "out" / "train.jsonl")
    wanted = rows_of(data, "train.jsonl")
    assert [row["completion"] for row in rows if row["label"]] == [row["chosen"] for row in wanted]
    assert [row["completion"] for row in rows if not row["label"]] == [
        row["rejected"] for row in wanted
    ]
    assert {tuple(row) for row in rows} == {("prompt", "completion", "label")}


def test_a_hub_folder_has_whole_rows_and_a_card_without_agents_words(
    run: Callable[..., str], data: DataDir, tmp_path: Path
) -> None:
    run("export", FIRST, "--format", "hf", "--out", tmp_path / "out")

    card = (tmp_path / "out" / "README.md").read_text()
    assert exported(tmp_path / "out" / "data" / "test.jsonl") == rows_of(data, "eval.jsonl")
    assert card.startswith("---\nconfigs:\n")
    assert "32 preference pairs of 24 agent runs" in card
    assert not any(text in card for text in ("Empty r-", "Aufräumen", "free("))


def test_where_nothing_is_held_out_there_is_no_such_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = next(pair for pair in PAIRS if pair.rule == "mixed_code")
    data = publish(tmp_path / "data", [pair])
    monkeypatch.setenv("PAIRSTREAM_DATA_DIR", str(data.root))

    words = ["dataset", "export", FIRST, "--format", "hf", "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(cli, words).exit_code == 0

    assert [path.name for path in (tmp_path / "out" / "data").iterdir()] == ["train.jsonl"]
    assert "split: test" not in (tmp_path / "out" / "README.md").read_text()


def test_what_is_there_is_never_overwritten(
    run: Callable[..., str], data: DataDir, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    before = snapshot(data.root)

    with pytest.raises(PairstreamError, match="out is there already: name a new folder"):
        run("export", FIRST, "--format", "trl", "--out", tmp_path / "out")

    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".out")] == []
    assert snapshot(data.root) == before


def test_without_pyarrow_parquet_says_what_to_install(
    run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)

    with pytest.raises(PairstreamError, match="extra `parquet`"):
        run("export", FIRST, "--format", "parquet", "--out", tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_published_lines_are_all_there(data: DataDir) -> None:
    """Else the tests above would compare nothing."""
    assert sorted(lines(data.datasets / FIRST)) == sorted(map(line, PAIRS))


def test_every_column_of_a_pair_is_exported() -> None:
    from pairstream.export_formats import COLUMNS

    assert list(COLUMNS) == list(Pair.__struct_fields__)
