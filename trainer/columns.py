"""Numbers of a dataset's pairs, one for each, measured in bounded memory.

Up to `VALUES_IN_MEMORY` stay there; more go to an unnamed temporary file, and what is asked of them
is found in a few passes over it.
"""

import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt

VALUES_IN_MEMORY = 2**16

Words = npt.NDArray[np.uint64]

_WORD_BYTES = 8
_BYTES_IN_MEMORY = VALUES_IN_MEMORY * _WORD_BYTES
_SIGN = 2**63

# A value is found by four digits of 16 bits, the highest first.
_DIGIT_BITS = 16
_DIGITS = 2**_DIGIT_BITS
_SHIFTS = (48, 32, 16, 0)


class Column:
    """Takes values of one kind: floats (`d`), or whole numbers from 0 to 2**64 - 1 (`Q`)."""

    def __init__(self, kind: Literal["d", "Q"]) -> None:
        self._kind = kind
        self._newest = array(kind)
        self._file: BinaryIO | None = None
        self._in_file = 0

    def __len__(self) -> int:
        return self._in_file + len(self._newest)

    def append(self, value: float) -> None:
        self._newest.append(value)  # type: ignore[arg-type]
        if len(self._newest) >= VALUES_IN_MEMORY:
            self._spill()

    def save(self, path: Path) -> None:
        """For `extend` on the same machine."""
        with path.open("wb") as file:
            for part in self._parts():
                file.write(part)

    def extend(self, path: Path) -> None:
        """Append what another column has saved."""
        with path.open("rb") as file:
            while part := file.read(_BYTES_IN_MEMORY):
                self._newest.frombytes(part)
                if len(self._newest) >= VALUES_IN_MEMORY:
                    self._spill()

    def distinct(self) -> int:
        """How many different values there are, which must be spread evenly, as hashes are.

        They are counted by ranges that have as many as memory may hold.
        """
        ranges = -(-len(self) // VALUES_IN_MEMORY)
        width = -(-(2**64) // max(1, ranges))
        return sum(self._distinct(number * width, width) for number in range(ranges))

    def _distinct(self, first: int, width: int) -> int:
        last = min(first + width, 2**64) - 1
        found = np.empty(0, np.uint64)
        for words in self._words():
            found = np.union1d(found, words[(words >= first) & (words <= last)])
        return len(found)

    def ranked(self, rank: int) -> float:
        """The value that stands at this place, from 0, when all are sorted."""
        word = 0
        for shift in _SHIFTS:
            counts = sum(_count_digits(words, shift, word) for words in self._words())
            up_to = np.cumsum(counts)
            digit = int(np.searchsorted(up_to, rank, side="right"))
            rank -= int(up_to[digit - 1]) if digit else 0
            word = word << _DIGIT_BITS | digit
        return self._value(word)

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the column
        self._file.seek(0, 2)
        self._file.write(self._newest)
        self._in_file += len(self._newest)
        self._newest = array(self._kind)

    def _parts(self) -> Iterator[bytes]:
        if self._file is not None:
            self._file.seek(0)
            while part := self._file.read(_BYTES_IN_MEMORY):
                yield part
        yield self._newest.tobytes()

    def _words(self) -> Iterator[Words]:
        """Whole numbers in the order of the values: floats below 0 are turned round."""
        for part in self._parts():
            words = np.frombuffer(part, np.uint64)
            yield words if self._kind == "Q" else np.where(words & _SIGN, ~words, words | _SIGN)

    def _value(self, word: int) -> float:
        if self._kind == "Q":
            return word
        bits = word ^ _SIGN if word & _SIGN else word ^ (2**64 - 1)
        return float(np.uint64(bits).view(np.float64))


def _count_digits(words: Words, shift: int, prefix: int) -> npt.NDArray[np.int64]:
    """How many of those that begin with the digits of `prefix` have which one next."""
    digits = words >> shift
    if shift != _SHIFTS[0]:
        digits = digits[digits >> _DIGIT_BITS == prefix] - (prefix << _DIGIT_BITS)
    return np.bincount(digits.astype(np.int64), minlength=_DIGITS)
