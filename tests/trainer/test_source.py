"""A data directory belongs to one topic of one cluster."""

from pathlib import Path

import msgspec
import pytest

from schemas.errors import PairstreamError
from schemas.source import Source
from trainer.layout import DataDir
from trainer.source import directory_id, open_source, read_source, remember_starts

SOURCE = Source("cluster-1", "pairs", "id-1", 4)


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "data")


def test_a_new_directory_remembers_its_source_and_gets_an_id_of_its_own(
    data: DataDir, tmp_path: Path
) -> None:
    first = open_source(data, SOURCE)

    assert open_source(data, SOURCE) == read_source(data) == first
    assert first.source == SOURCE
    assert open_source(DataDir(tmp_path / "other"), SOURCE).id != first.id


def test_a_trainer_takes_over_the_id_under_which_something_was_trained_before(
    data: DataDir, tmp_path: Path
) -> None:
    """A container that runs is found by it, and not started a second time."""
    early = directory_id(data)

    assert directory_id(data) == early != directory_id(DataDir(tmp_path / "other"))
    assert open_source(data, SOURCE).id == directory_id(data) == early


def test_the_id_of_a_directory_with_a_trainer_is_the_trainers(data: DataDir) -> None:
    known = open_source(data, SOURCE)

    assert directory_id(data) == known.id
    assert not data.early_id.exists()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"cluster_id": "c-2"}, "it was filled from cluster cluster-1, and this is c-2"),
        ({"cluster_id": "c-2", "topic_id": "id-2", "partitions": 9}, "it was filled from cluster"),
        ({"topic": "other", "topic_id": "id-2"}, "it was filled from pairs, and this is other"),
        ({"topic_id": "id-2"}, "pairs was re-created: its offsets mean something else now"),
        ({"topic_id": "id-2", "partitions": 9}, "pairs was re-created"),
        ({"partitions": 9}, "pairs had 4 partitions and has 9 now"),
    ],
)
def test_another_source_is_refused_with_what_differs(
    change: dict[str, object], what: str, data: DataDir
) -> None:
    open_source(data, SOURCE)

    with pytest.raises(PairstreamError) as refused:
        open_source(data, msgspec.structs.replace(SOURCE, **change))
    assert f"{data.root} does not fit: {what}" in str(refused.value)
    assert "with a new --data-dir" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"id": "1", "source": null}'])
def test_a_damaged_file_is_named(content: bytes, data: DataDir) -> None:
    open_source(data, SOURCE)
    data.source.write_bytes(content)

    with pytest.raises(PairstreamError, match=f"{data.source} cannot be read"):
        open_source(data, SOURCE)


def test_a_lost_file_is_not_made_anew_where_there_are_segments(data: DataDir) -> None:
    (data.segments / "0").mkdir(parents=True)
    (data.segments / "0" / "x.jsonl").touch()

    with pytest.raises(PairstreamError, match=f"{data.source} is gone"):
        open_source(data, SOURCE)


def test_the_first_starts_are_remembered_for_ever(data: DataDir) -> None:
    known = open_source(data, SOURCE)
    assert known.starts is None

    first = remember_starts(data, known, {0: 0, 1: 17})
    again = remember_starts(data, open_source(data, SOURCE), {0: 500, 1: 600})
    assert first.starts == again.starts == {0: 0, 1: 17}
    assert first.id == known.id
