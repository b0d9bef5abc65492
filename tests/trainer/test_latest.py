"""`latest` and its history: promoted by the gate once, changed by people, and the way back."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import PairstreamError
from tests.streams.histories import MODEST
from trainer import latest
from trainer.latest import (
    Change,
    change_by_user,
    promote_by_gate,
    read_history,
    read_latest,
    succession,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def changes(*told: str) -> list[Change]:
    """`a` or `a>b` promotes, `b<a` rolls back: the one before stands left."""
    made = []
    for each in told:
        what = "rolled_back" if "<" in each else "promoted"
        before, _, now = each.replace("<", ">").rpartition(">")
        made.append(
            Change(time=NOW, training_id=now, what=what, by="user", before=before or None, why=None)
        )
    return made


def test_where_no_model_can_be_there_is_no_history(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert read_history(tmp_path / "models") == read_history(tmp_path / "file" / "models") == []


@pytest.mark.parametrize(
    ("history", "now", "way"),
    [
        ([], None, []),
        ([], "a", ["a"]),  # made before there was a history
        (["a"], "a", ["a"]),
        (["a", "a>b", "b>c"], "c", ["a", "b", "c"]),
        (["a", "a>b", "b>c", "c<b"], "b", ["a", "b"]),
        (["a", "a>b", "b>c", "c<b", "b<a"], "a", ["a"]),
        (["a", "a>b", "b>c", "c<a"], "a", ["a"]),  # over more than one
        (["a", "a>b", "b<a", "a>c"], "c", ["a", "c"]),
        (["a", "a>b", "b>a"], "a", ["a", "b", "a"]),  # promoted again
        (["a", "a>b", "b>a", "a<b"], "b", ["a", "b"]),
        (["a", "a>b", "b<c"], "c", ["a", "b", "c"]),  # back to one that was not before
        (["z>b"], "b", ["z", "b"]),
        # A crash between the history and the rename: the change did not come about.
        (["a", "a>b"], "a", ["a"]),
        (["a", "a>b", "a>c"], "c", ["a", "c"]),
        (["a"], None, []),
        (["a", "a"], "a", ["a"]),
        (["a", "a>b", "b<a"], "b", ["a", "b"]),  # so the rollback can be said again
        (["a", "a>b", "b>c", "c<a"], "c", ["a", "b", "c"]),
        (["a", "a>b"], "x", ["a", "b", "x"]),  # somebody pointed it by hand
    ],
)
def test_the_way_back(history: list[str], now: str | None, way: list[str]) -> None:
    assert succession(changes(*history), now) == way


ids = st.sampled_from("abcd")


promotions = st.tuples(st.just("promote"), ids)
rollbacks = st.tuples(st.just("back"), st.integers(1, 3))


@MODEST
@given(st.lists(st.tuples(promotions | rollbacks, st.booleans()), max_size=16))
def test_the_way_back_is_what_was_latest_whatever_crashed_in_between(
    wanted: list[tuple[tuple[str, str | int], bool]],
) -> None:
    """Held against a list that knows what came about; a crash leaves `latest` as it was."""
    history: list[Change] = []
    way: list[str] = []
    for (kind, what), crashes in wanted:
        now = way[-1] if way else None
        if kind == "promote" and what != now:
            told, then = f"{now or ''}>{what}", [*way, str(what)]
        elif kind == "back" and isinstance(what, int) and what < len(way):
            then = way[:-what]
            if then[-1] == now:
                continue  # it is the latest already
            told = f"{now}<{then[-1]}"
            then = way[: len(way) - way[::-1].index(then[-1])]  # as near as it was before
        else:
            continue
        history += changes(told)
        way = way if crashes else then
        assert succession(history, way[-1] if way else None) == way


def what(models: Path) -> list[tuple[str, str, str, str | None]]:
    return [(c.training_id, c.what, c.by, c.before) for c in read_history(models)]


def test_changes_point_latest_and_are_remembered(tmp_path: Path) -> None:
    assert promote_by_gate(tmp_path, "a", "well")
    assert promote_by_gate(tmp_path, "b", "better")
    assert change_by_user(tmp_path, "a", "rolled_back", "b loops") == "b"

    assert read_latest(tmp_path) == "a"
    assert what(tmp_path) == [
        ("a", "promoted", "gate", None),
        ("b", "promoted", "gate", "a"),
        ("a", "rolled_back", "user", "b"),
    ]
    assert [change.why for change in read_history(tmp_path)] == ["well", "better", "b loops"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.jsonl", "latest"]


def test_what_is_latest_already_is_not_changed(tmp_path: Path) -> None:
    promote_by_gate(tmp_path, "a", "well")
    before = (tmp_path / "history.jsonl").read_bytes()

    assert promote_by_gate(tmp_path, "a", "well")
    assert change_by_user(tmp_path, "a", "promoted", None) == "a"

    assert (tmp_path / "history.jsonl").read_bytes() == before


def test_a_restart_of_the_trainer_does_not_undo_what_a_user_changed(tmp_path: Path) -> None:
    promote_by_gate(tmp_path, "a", "well")
    promote_by_gate(tmp_path, "b", "better")
    change_by_user(tmp_path, "a", "rolled_back", None)

    assert not promote_by_gate(tmp_path, "b", "better")

    assert read_latest(tmp_path) == "a"
    assert len(read_history(tmp_path)) == 3


def test_a_promotion_that_was_remembered_only_is_made_and_stands_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote_by_gate(tmp_path, "a", "well")
    with monkeypatch.context() as patch:
        patch.setattr(latest, "_point", lambda *_: None)
        promote_by_gate(tmp_path, "b", "better")
    assert read_latest(tmp_path) == "a"

    assert promote_by_gate(tmp_path, "b", "better")

    assert read_latest(tmp_path) == "b"
    assert [each[0] for each in what(tmp_path)] == ["a", "b"]


def test_changes_at_the_same_time_are_all_remembered_in_one_order(tmp_path: Path) -> None:
    names = [f"dpo-{number}" for number in range(12)]
    gate = threading.Barrier(len(names))

    def promote(name: str) -> None:
        gate.wait()
        change_by_user(tmp_path, name, "promoted", None)

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(promote, names))

    history = read_history(tmp_path)
    assert sorted(change.training_id for change in history) == sorted(names)
    befores = [change.before for change in history]
    assert befores == [None, *(change.training_id for change in history[:-1])]
    assert read_latest(tmp_path) == history[-1].training_id


@pytest.mark.parametrize("content", [b"{", b'{"training_id": "a"}\n', b"\xff\n"])
def test_a_damaged_history_is_named_and_changes_nothing(content: bytes, tmp_path: Path) -> None:
    promote_by_gate(tmp_path, "a", "well")
    (tmp_path / "history.jsonl").write_bytes(content)

    with pytest.raises(PairstreamError, match=r"history\.jsonl is damaged .*restore it"):
        promote_by_gate(tmp_path, "b", "better")

    assert read_latest(tmp_path) == "a"
    assert (tmp_path / "history.jsonl").read_bytes() == content
