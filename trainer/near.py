"""Near duplicates: pairs whose prompt, chosen and rejected are each nearly the same. Pure.

MinHash over runs of four words or marks, with hash functions that are fixed here: which pairs are
near each other decides the bytes of a dataset, so no library's next version may change it.

Memory: 768 bytes a pair, and as much again for those that are kept, to find them by.
"""

import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDES = ("prompt", "chosen", "rejected")

# Of the runs of two texts so many are the same: the share of all that either has.
THRESHOLD = 0.8

RUN = 4
HASHES = 64

# A band is two hashes of chosen and two of rejected. Two pairs with both sides at the threshold
# share one of so many bands with a chance of 0.985, above 0.9 of 0.9999.
BANDS = 8

SIDE = 4 * HASHES  # bytes of the sketch of one text

RUNS_AT_ONCE = 4096

_WORDS = re.compile(r"\w+|[^\w\s]")

_SEEDS = np.frombuffer(hashlib.shake_256(b"pairstream near").digest(16 * HASHES), dtype="<u8")
_FACTORS, _SUMMANDS = _SEEDS[:HASHES] | np.uint64(1), _SEEDS[HASHES:]


def sketch_of(row: Mapping[str, Any]) -> bytes:
    """The sketches of the three sides, one behind the other."""
    return b"".join(
        _sketch("\n".join(message["content"] for message in row[side])).tobytes() for side in SIDES
    )


def _sketch(text: str) -> NDArray[np.uint32]:
    """The least value of each hash function over the text's runs: MinHash."""
    hashes = np.fromiter({zlib.crc32(run) for run in _runs(text)}, dtype=np.uint64)
    least = np.full(HASHES, 2**32 - 1, dtype="<u4")
    for start in range(0, len(hashes), RUNS_AT_ONCE):
        part = hashes[start : start + RUNS_AT_ONCE, None] * _FACTORS + _SUMMANDS
        least = np.minimum(least, (part >> np.uint64(32)).min(axis=0).astype("<u4"))
    return least


def _runs(text: str) -> Iterator[bytes]:
    """Every four words or marks that follow one another; a shorter text as a whole."""
    words = _WORDS.findall(text)
    for start in range(max(1, len(words) - RUN + 1)):
        yield " ".join(words[start : start + RUN]).encode()


class Sketches:
    """Those of pairs that are no near duplicates of one another."""

    def __init__(self) -> None:
        # The same answers often stand under many prompts: they are compared once.
        self._answers: dict[bytes, bytearray] = {}  # both sides, and the prompts kept with them
        self._bands: dict[tuple[int, bytes], list[bytes]] = {}

    def is_new(self, sketch: bytes) -> bool:
        """Whether no kept one is near it; then it is kept."""
        prompt, answers = sketch[:SIDE], sketch[SIDE:]
        sides = _values(answers)
        keys = [(band, sides[:, 2 * band : 2 * band + 2].tobytes()) for band in range(BANDS)]
        rivals = {rival for key in keys for rival in self._bands.get(key, ())}
        for rival in rivals:
            if (
                _near(_values(rival), sides).all()
                and _near(_values(self._answers[rival]), _values(prompt)).any()
            ):
                return False
        if answers not in self._answers:
            self._answers[answers] = bytearray()
            for key in keys:
                self._bands.setdefault(key, []).append(answers)
        self._answers[answers] += prompt
        return True


def _values(sketches: bytes | bytearray) -> NDArray[np.uint32]:
    """A row for each text."""
    return np.frombuffer(sketches, dtype="<u4").reshape(-1, HASHES)


def _near(some: NDArray[np.uint32], others: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Of each two rows, or of each row and the only other one."""
    near: NDArray[np.bool_] = (some == others).mean(axis=1) >= THRESHOLD
    return near
