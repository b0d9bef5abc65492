"""`pairstream status` over files that are damaged: a line each, never a traceback."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from pairstream.__main__ import cli
from tests.commands.deployment import NOW
from tests.trainer.left_in_place import LEFT_IN_PLACE
from tests.trainer.made_pairs import make_pairs
from trainer.layout import MANIFEST, DataDir
from trainer.segments import OpenSegment
from trainer.training_manifest import STARTED, Started, write_started

NO_TEXT = b'{"time":"2026-01-01T00:00:00Z","step":"started","detail":"\xff"}\n'
TOO_DEEP = b'{"x":' + b"[" * 5000 + b"\n"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataDir:
    monkeypatch.setattr("pairstream.commands.status.ANSWER_SECONDS", 0.0)
    return DataDir(tmp_path / "data")


@pytest.fixture
def folder(data: DataDir) -> Path:
    """Of a training that goes on."""
    folder = data.models / "dpo-ds-000001"
    folder.mkdir(parents=True)
    write_started(folder, Started(NOW, "process", "python", "tag", "tiny", []))
    return folder


def status(data: DataDir, *words: str) -> tuple[str, str]:
    """What it shows, and the line with which it ends: no broker answers here."""
    where = ["--data-dir", str(data.root), "--bootstrap-servers", "127.0.0.1:1"]
    done = CliRunner().invoke(cli, ["status", *where, *words])
    assert type(done.exception).__name__ == "PairstreamError", done.exception
    return done.stdout, str(done.exception)


@pytest.mark.parametrize("place", LEFT_IN_PLACE)
def test_what_a_training_put_in_place_of_its_metrics_is_passed_over(
    data: DataDir, folder: Path, place: Callable[[Path], None]
) -> None:
    place(folder / "metrics.jsonl")
    shown, end = status(data)

    assert f"{folder.name}  started" in shown
    assert end.startswith("no broker answers")


@pytest.mark.parametrize("name", ["metrics.jsonl", "steps.jsonl", ".waits.json"])
@pytest.mark.parametrize("content", [NO_TEXT, TOO_DEEP])
def test_damaged_lines_of_a_training_are_passed_over(
    data: DataDir, folder: Path, name: str, content: bytes
) -> None:
    (folder / name).write_bytes(content)
    shown, end = status(data)

    assert f"{folder.name}  started" in shown
    assert end.startswith("no broker answers")


@pytest.mark.parametrize("name", [MANIFEST, STARTED])
@pytest.mark.parametrize("content", [NO_TEXT, TOO_DEEP])
def test_a_damaged_record_of_a_training_is_named(
    data: DataDir, folder: Path, name: str, content: bytes
) -> None:
    (folder / name).write_bytes(content)

    assert status(data)[1].startswith(f"{folder / name} is damaged (")


@pytest.mark.parametrize("content", [b"no json\n", b"[]\n", b'{"rule":"mixed_code"}\n', TOO_DEEP])
@pytest.mark.parametrize("words", [[], ["--trigger-pairs", "1"]])
def test_a_damaged_segment_is_named(data: DataDir, content: bytes, words: list[str]) -> None:
    segment = OpenSegment(data.segments, 0, 0)
    segment.add(make_pairs(1)[0].pair_id, content)
    segment.cover(0)
    path = data.segments / segment.close().path

    assert status(data, *words)[1].startswith(f"{path} cannot be read (")


def test_a_damaged_segment_is_named_where_tasks_are_counted(
    data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairstream.data_facts._rules", lambda *_: {})
    monkeypatch.setenv("PAIRSTREAM_TRIGGER_TASKS", "5")
    segment = OpenSegment(data.segments, 0, 0)
    segment.add(make_pairs(1)[0].pair_id, b'{"run_id":"\xff"}\n')
    segment.cover(0)
    path = data.segments / segment.close().path

    assert status(data)[1].startswith(f"{path} cannot be read (")
