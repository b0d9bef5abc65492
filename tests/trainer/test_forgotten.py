"""Runs that were forgotten come into nothing new, and what holds them already says so."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pairstream.data_facts import read_data_facts
from pairstream.rewriting import rewrite_dataset
from schemas.errors import PairstreamError
from tests.trainer.fed_intake import PAIRS, VALUES, Refused, open_intake, records
from tests.trainer.invariants import all_lines, assert_sound, datasets, left_out, snapshot
from trainer.datasets import verify_dataset
from trainer.forgotten import (
    REWRITTEN,
    ForgottenRuns,
    forgotten_runs,
    mark_dataset,
    read_mark,
    read_marks,
    remember_forgotten,
    without_forgotten,
)
from trainer.intake import Intake
from trainer.layout import DataDir

NOW = datetime(2026, 11, 24, 21, 30, tzinfo=UTC)
LATER = datetime(2026, 11, 25, tzinfo=UTC)

GONE, OTHER = "r-1", "r-2"
HALF = len(VALUES) // 2


def runs_in(lines: list[bytes]) -> set[str]:
    return {json.loads(line)["run_id"] for line in lines}


def taken(root: Path, values: list[bytes], *, after: int = 0, **given: object) -> Intake:
    intake = open_intake(root, **given)
    intake.take(records(values)[after:], Refused())
    intake.close_segments()
    return intake


def test_the_list_grows_and_keeps_the_first_time(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "new")
    assert forgotten_runs(data) == {}

    remember_forgotten(data, ["b", "a\n\u2028"], NOW)
    remember_forgotten(data, ["b", "c"], LATER)

    assert forgotten_runs(data) == {"b": NOW, "a\n\u2028": NOW, "c": LATER}


def test_the_list_is_read_again_only_when_it_has_changed(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    runs = ForgottenRuns(data)
    assert runs.current() == {}
    remember_forgotten(data, ["a"], NOW)
    known = runs.current()

    assert runs.current() is known
    remember_forgotten(data, ["b"], NOW)
    assert set(runs.current()) == {"a", "b"}


def test_a_damaged_list_is_named(tmp_path: Path) -> None:
    (tmp_path / "forgotten.jsonl").write_text("r-1\n")

    with pytest.raises(PairstreamError, match=r"forgotten\.jsonl is damaged"):
        forgotten_runs(DataDir(tmp_path))


def test_pairs_of_a_forgotten_run_are_not_taken_in_any_more(tmp_path: Path) -> None:
    remember_forgotten(DataDir(tmp_path), [GONE], NOW)

    with capture_logs() as logs:
        intake = taken(tmp_path, VALUES)

    gone = sum(pair.run_id == GONE for pair in PAIRS)
    assert gone
    told = [log["pairs"] for log in logs if log["event"] == "forgotten_pairs_passed_over"]
    assert sum(told) == gone
    assert intake.new_pairs == len(VALUES) - gone
    found = intake.cut()
    assert found is not None
    assert found.left_out == {}
    assert GONE not in runs_in(all_lines(tmp_path))
    assert_sound(tmp_path, ends=intake.positions)


@pytest.mark.parametrize("given", [{}, {"duplicates": "exact"}])
def test_what_waits_for_a_dataset_is_left_out_for_good(
    tmp_path: Path, given: dict[str, object]
) -> None:
    intake = taken(tmp_path, VALUES, **given)
    remember_forgotten(DataDir(tmp_path), [GONE], NOW)

    found = intake.cut()

    assert found is not None
    gone = sorted(pair.pair_id for pair in PAIRS if pair.run_id == GONE)
    assert found.left_out == {"forgotten": len(gone)}
    [folder] = datasets(tmp_path)
    assert left_out(folder) == [
        {"pair_id": pair_id, "reason": "forgotten", "waits": False} for pair_id in gone
    ]
    assert runs_in(all_lines(tmp_path)) == {pair.run_id for pair in PAIRS} - {GONE}
    assert read_mark(folder) is None
    assert_sound(tmp_path, ends=intake.positions)


def test_what_was_forgotten_meanwhile_is_no_new_pair(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    intake = taken(tmp_path, VALUES[:HALF])
    gone = {run: sum(pair.run_id == run for pair in PAIRS[:HALF]) for run in (GONE, OTHER)}
    assert all(gone.values())

    remember_forgotten(data, [GONE], NOW)
    assert intake.new_pairs == HALF - gone[GONE]
    remember_forgotten(data, [OTHER], LATER)
    assert intake.new_pairs == HALF - gone[GONE] - gone[OTHER]
    assert read_data_facts(data).new_pairs == intake.new_pairs
    assert sum(read_data_facts(data).new_rules.values()) == intake.new_pairs
    intake.close()
    assert open_intake(tmp_path).new_pairs == HALF - gone[GONE] - gone[OTHER]


def test_what_holds_them_already_is_named_with_what_does_not(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    taken(tmp_path, VALUES).cut()
    remember_forgotten(data, [GONE], NOW)
    [folder] = datasets(tmp_path)
    mark_dataset(folder, forgotten_runs(data))
    assert without_forgotten(data, folder.name) is None
    first, second = (data.root / REWRITTEN / f"{folder.name}-r{n}" for n in (1, 2))

    rewrite_dataset(data, folder.name, first, forgotten_runs(data))
    assert without_forgotten(data, folder.name) == first
    remember_forgotten(data, [OTHER], LATER)
    mark_dataset(first, forgotten_runs(data))
    assert without_forgotten(data, folder.name) is None
    rewrite_dataset(data, folder.name, second, forgotten_runs(data))
    assert without_forgotten(data, folder.name) == second


def test_a_published_dataset_stays_as_it_is_and_is_marked(tmp_path: Path) -> None:
    taken(tmp_path, VALUES).cut()
    [folder] = datasets(tmp_path)
    before = snapshot(tmp_path)
    remember_forgotten(DataDir(tmp_path), [GONE, "never-seen"], NOW)

    mark = mark_dataset(folder, forgotten_runs(DataDir(tmp_path)))

    assert mark is not None
    [run] = mark.runs
    gone = sum(pair.run_id == GONE for pair in PAIRS)
    assert (run.run_id, run.time, run.pairs) == (GONE, NOW, gone)
    assert read_marks(DataDir(tmp_path)) == {folder.name: mark}
    assert before.items() <= snapshot(tmp_path).items()
    verify_dataset(folder)


def test_a_run_that_is_forgotten_while_a_dataset_is_published_is_marked_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataDir(tmp_path)
    intake = taken(tmp_path, VALUES)

    def forget_now(point: str) -> None:
        if point == "trainer.cut_published":
            remember_forgotten(data, [GONE], NOW)

    monkeypatch.setattr("trainer.cut.crash_point", forget_now)
    found = intake.cut()

    assert found is not None
    assert [run.run_id for run in read_marks(data)[found.name].runs] == [GONE]


def test_a_trainer_that_died_before_it_could_mark_does_so_at_its_start(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    taken(tmp_path, VALUES[:HALF]).close()
    intake = open_intake(tmp_path)
    intake.cut()
    intake.close()
    remember_forgotten(data, [GONE], NOW)
    assert read_marks(data) == {}

    open_intake(tmp_path).close()

    [mark] = read_marks(data).values()
    assert [run.run_id for run in mark.runs] == [GONE]


def test_a_trainer_that_starts_anew_knows_the_list(tmp_path: Path) -> None:
    taken(tmp_path, VALUES[:HALF]).close()
    remember_forgotten(DataDir(tmp_path), [GONE], NOW)

    intake = taken(tmp_path, VALUES, after=HALF)
    intake.cut()

    assert runs_in(all_lines(tmp_path)) == {pair.run_id for pair in PAIRS} - {GONE}
