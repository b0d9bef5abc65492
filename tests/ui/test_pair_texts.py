"""A pair's texts, from where the index says."""

from pathlib import Path
from typing import Any

import pytest

from pairstream.ui.pair_texts import read_pair
from schemas.errors import PairstreamError
from schemas.rows import encode
from schemas.settings import KafkaSettings
from tests.trainer.made_pairs import make_pairs

PAIRS = make_pairs(2)
LINES = [encode(pair) + b"\n" for pair in PAIRS]


def read(folder: Path, place: int) -> Any:
    """The second pair, told to be so many bytes into the segment."""
    (folder / "a.jsonl").write_bytes(b"".join(LINES))
    found = {
        "pair_id": bytes.fromhex(PAIRS[1].pair_id), "segment": "a.jsonl", "start": place,
        "length": len(LINES[place > 0]), "partition": None, "offset": None,
    }  # fmt: skip
    return read_pair(KafkaSettings(), folder, found)


def test_a_pair_is_read_from_its_segment(tmp_path: Path) -> None:
    assert read(tmp_path, len(LINES[0])) == PAIRS[1]


def test_another_pair_is_not_shown_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(PairstreamError, match=r"not where the index says .*--rebuild"):
        read(tmp_path, 0)
