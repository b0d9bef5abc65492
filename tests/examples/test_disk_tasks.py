import tempfile
from pathlib import Path

import pytest
from agent_loop import measure
from disk_tasks import File, Task, make_task
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.long


@pytest.fixture
def disk(task: Task, tmp_path: Path) -> Path:
    task.build(tmp_path)
    return tmp_path


def without_copies(task: Task) -> list[File]:
    copied = {file.content for file in task.junk}
    return [file for file in task.precious if file.content not in copied]


@settings(max_examples=25, deadline=None)
@given(number=st.integers(0, 999), data=st.data())
def test_score_is_the_bytes_of_the_junk_that_is_gone(number: int, data: st.DataObject) -> None:
    task = make_task(number)
    gone = data.draw(st.sets(st.sampled_from(task.junk)))
    with tempfile.TemporaryDirectory() as folder:
        task.build(Path(folder))
        for file in gone:
            (Path(folder) / file.path).unlink()

        score, error = measure(task, Path(folder))

    assert score == sum(len(file.content) for file in gone)
    assert (error is None) == bool(gone)


@settings(max_examples=25, deadline=None)
@given(number=st.integers(0, 999), data=st.data())
def test_harm_to_one_precious_file_makes_the_score_0(number: int, data: st.DataObject) -> None:
    task = make_task(number)
    harmed = data.draw(st.sampled_from(without_copies(task)))
    harm = data.draw(st.sampled_from(["remove", "empty", "change", "move", "link"]))
    with tempfile.TemporaryDirectory() as folder:
        task.build(Path(folder))
        path = Path(folder) / harmed.path
        for file in task.junk:
            (Path(folder) / file.path).unlink()
        if harm == "remove":
            path.unlink()
        elif harm == "empty":
            path.write_bytes(b"")
        elif harm == "change":
            path.write_bytes(harmed.content[:-1] + bytes([harmed.content[-1] ^ 1]))
        elif harm == "move":
            path.rename(path.with_name("moved"))
        else:
            path.symlink_to(path.rename(path.with_name("moved")))

        assert measure(task, Path(folder)) == (
            0.0,
            f"{harmed.path} must stay as it is, and does not",
        )


def test_one_of_equal_files_may_go_and_not_all(task: Task, disk: Path) -> None:
    photo = next(file for file in task.precious if file not in without_copies(task))
    copies = [file for file in task.junk if file.content == photo.content]
    (disk / photo.path).unlink()
    assert measure(task, disk) == (len(photo.content), None)

    for copy in copies:
        (disk / copy.path).unlink()
    score, error = measure(task, disk)
    assert score == 0
    assert error is not None
    assert photo.path in error


def test_a_name_for_an_existing_file_takes_no_room(task: Task, disk: Path) -> None:
    photo = next(file for file in task.precious if file not in without_copies(task))
    copy = next(file for file in task.junk if file.content == photo.content)
    (disk / copy.path).unlink()
    (disk / copy.path).hardlink_to(disk / photo.path)

    assert measure(task, disk) == (len(copy.content), None)


def test_junk_that_is_only_moved_or_hidden_still_takes_its_room(task: Task, disk: Path) -> None:
    moved = disk / "elsewhere"
    moved.mkdir()
    junk = [file for file in task.junk if file.path.startswith("tmp/")]
    for number, file in enumerate(junk):
        (disk / file.path).rename(moved / str(number))
    moved.chmod(0)

    assert task.bytes_freed(disk) == 0
    assert measure(task, disk) == (0.0, "the program ran and freed nothing")


def test_a_grown_disk_scores_0(task: Task, disk: Path) -> None:
    (disk / "more").write_bytes(b"x")

    assert task.bytes_freed(disk) == -1
    assert measure(task, disk)[0] == 0


def test_a_number_names_one_task(task: Task) -> None:
    assert make_task(0) == task
    assert make_task(1).files != task.files
    assert make_task(1).task_id != task.task_id


@given(number=st.integers(0, 9999))
@settings(deadline=None)
def test_every_task_has_all_kinds_of_junk_and_its_paths_once(number: int) -> None:
    task = make_task(number)
    paths = [file.path for file in task.files]

    assert len(set(paths)) == len(paths)
    for sign in (".cache/", ".log.", "downloads/", "tmp/", "releases/"):
        assert any(sign in file.path for file in task.junk)
    assert all(file.age_days > 7 for file in task.junk if file.path.startswith("tmp/"))
    assert all(file.age_days < 7 for file in task.precious if file.path.startswith("tmp/"))


def test_files_are_as_old_as_the_task_says(task: Task, disk: Path) -> None:
    old = next(file for file in task.junk if file.path == "tmp/export.csv")
    new = next(file for file in task.precious if file.path == "tmp/session.lock")
    between = (disk / new.path).stat().st_mtime - (disk / old.path).stat().st_mtime

    assert round(between / 86_400) == old.age_days - new.age_days
