"""Known ids: a set of them on disk, whatever is merged and whenever it ends."""

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.crash_points import VARIABLE
from trainer import known_ids
from trainer.known_ids import KnownIds

# Few of each kind, so that they share their beginnings and end in NUL.
an_id = st.lists(st.sampled_from(b"\x00\x01\x7f\xff"), min_size=16, max_size=16).map(bytes)
short_id = st.integers(0, 300).map(lambda number: number.to_bytes(16))


@settings(deadline=None)
@given(
    st.lists(st.lists(an_id | short_id, unique=True, max_size=40), max_size=12),
    st.lists(an_id | short_id, max_size=40),
    st.integers(1, 7),
    st.integers(1, 5),
)
def test_it_knows_what_was_added_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[bytes]],
    others: list[bytes],
    at_once: int,
    growth: int,
) -> None:
    folder = tmp_path_factory.mktemp("ids") / "known"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(known_ids, "IDS_AT_ONCE", at_once)
        patched.setattr(known_ids, "GROWTH", growth)
        ids, added = KnownIds(folder), set[bytes]()
        for number, batch in enumerate(batches, 1):
            ids.add(sorted(set(batch) - added), through=number)
            added.update(batch)
            asked = [*added, *others]
            assert ids.known(asked) == added
            assert KnownIds(folder).known(asked) == added
        assert sum(path.stat().st_size for path in folder.iterdir()) == 16 * len(added)
        assert ids.batches == len(batches)


def test_files_are_few_and_each_is_larger_than_the_next(tmp_path: Path) -> None:
    ids = KnownIds(tmp_path / "known")
    written = 0
    for number in range(1, 301):
        ids.add([(number * 100 + at).to_bytes(16) for at in range(100)], through=number)
        written += (
            max(tmp_path.glob("known/*"), key=lambda path: path.stat().st_mtime_ns).stat().st_size
        )

    sizes = [path.stat().st_size for path in sorted(tmp_path.glob("known/*"))]
    assert len(sizes) <= 5
    assert all(size > known_ids.GROWTH * after for size, after in pairwise(sizes))
    assert written < 30 * 300 * 100 * 16


@pytest.mark.parametrize("damage", ["a file less", "half a file", "a stranger"])
def test_a_folder_that_is_not_in_order_is_emptied_or_cleared_of_what_is_none(
    tmp_path: Path, damage: str
) -> None:
    ids = KnownIds(tmp_path / "known")
    ids.add([bytes([number]) * 16 for number in range(100)], through=1)
    ids.add([b"b" * 15 + b"0"], through=2)
    first, second = sorted(tmp_path.glob("known/*"))
    if damage == "a file less":
        first.unlink()
    elif damage == "half a file":
        second.write_bytes(second.read_bytes()[:7])
    else:
        (tmp_path / "known" / "0000000003-0000000003.tmp").write_bytes(b"half written")

    left = {"a file less": 0, "half a file": 1, "a stranger": 2}[damage]
    assert KnownIds(tmp_path / "known").batches == left
    assert len(list(tmp_path.glob("known/*"))) == left


def test_killed_between_the_merged_file_and_those_that_it_replaces_it_knows_the_same(
    tmp_path: Path,
) -> None:
    script = (
        "import sys; from pathlib import Path; from trainer.known_ids import KnownIds\n"
        "ids = KnownIds(Path(sys.argv[1]))\n"
        "for number in range(1, 5): ids.add([bytes([number]) * 16], through=number)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "known"],
        env={**os.environ, VARIABLE: "trainer.ids_written:3"},
        cwd=Path(__file__).parents[2],
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("known/*"))) == 2

    ids = KnownIds(tmp_path / "known")
    assert ids.batches == 3
    assert ids.known([bytes([number]) * 16 for number in range(9)]) == {
        bytes([number]) * 16 for number in (1, 2, 3)
    }
    assert len(list(tmp_path.glob("known/*"))) == 1
