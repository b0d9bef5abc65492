"""One topic's rows against what the events give: none lost, none changed, none from elsewhere.

Memory: ids and digests of one partition's rows. What finds no partner in its own partition is kept
until the end, so that runs which a client has put on another partition are found too.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import orjson

from pairstream.verify.expected import Json
from pairstream.verify.report import Check


class Expected(NamedTuple):
    """A row that the events give; `must`: the workers have certainly written it."""

    digest: bytes
    must: bool
    since_ms: int


class Seen(NamedTuple):
    """A row in the topic."""

    digest: bytes
    run_id: str
    at: str


def digest_of(row: Json) -> bytes:
    """Equal for equal rows, whether a number is written as 3 or 3.0."""
    plain = {name: float(v) if type(v) is int else v for name, v in row.items()}
    return hashlib.sha256(orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)).digest()[:16]


class RowComparison:
    """Rows by id; `noun` names one of them, with its article.

    `horizon_ms`: rows for what came before may be gone.
    """

    def __init__(self, check: Check, noun: str, *, horizon_ms: int | None) -> None:
        self._check = check
        self._noun = noun
        self._horizon_ms = horizon_ms
        self._expected: dict[str, Expected] = {}
        self._seen: dict[str, Seen] = {}

    def expect(self, row_id: str, expected: Expected) -> None:
        self._expected[row_id] = expected

    def require(self, row_id: str) -> None:
        """The workers have certainly written it, if it is expected at all."""
        if row_id in self._expected:
            self._expected[row_id] = self._expected[row_id]._replace(must=True)

    def see(self, row_id: str, seen: Seen) -> bool:
        """Take in a row of the topic; returns whether it is the first of its id."""
        earlier = self._seen.setdefault(row_id, seen)
        if earlier is seen:
            self._check.checked += 1
        elif earlier.digest != seen.digest:
            self._check.found(
                f"{self._noun} that stands otherwise at {earlier.at}",
                id=row_id,
                at=seen.at,
            )
        return earlier is seen

    def compare(self, is_judged: Callable[[str], bool] | None) -> None:
        """Hold rows against expectations, and let go of those that have met.

        Args:
            is_judged: where the log's beginning is missing, whether all of a run is known; rows of
                other runs are let go of.
        """
        for row_id in self._expected.keys() & self._seen.keys():
            expected, seen = self._expected.pop(row_id), self._seen.pop(row_id)
            if expected.digest != seen.digest:
                self._check.found(
                    f"{self._noun} that is not what the events of {seen.run_id} give",
                    id=row_id,
                    at=seen.at,
                )
        if is_judged is not None:
            self._seen = {i: seen for i, seen in self._seen.items() if is_judged(seen.run_id)}

    def finish(self, is_judged: Callable[[str], bool] | None) -> None:
        """Judge what has found no partner."""
        self.compare(is_judged)
        for row_id, expected in self._expected.items():
            if not expected.must:
                continue
            if self._horizon_ms is not None and expected.since_ms <= self._horizon_ms:
                self._check.note("what came before the topic's first record is not looked for")
            else:
                self._check.found(f"{self._noun} is missing", id=row_id)
        for row_id, seen in self._seen.items():
            self._check.found(
                f"{self._noun} that no event gives (run {seen.run_id})", id=row_id, at=seen.at
            )
