"""Which pairs are known, and where their lines stand. Rebuilt from the segments when it is lost."""

import shutil
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from schemas.crash_points import crash_point
from schemas.errors import PairstreamError
from trainer.known_ids import IDS_AT_ONCE, KnownIds
from trainer.segments import Segment, verify_segment

# Another form of the tables is another number: an index of an older one is made anew.
_VERSION = 2

# The rows of a segment stand together, so that they are added at the end of the table; which ids
# are known is asked of `KnownIds`, whose folder bears the token.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS token (
    token TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS segments (
    number INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS pairs (
    segment INTEGER NOT NULL,
    pair_id BLOB NOT NULL,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    PRIMARY KEY (segment, pair_id)
) WITHOUT ROWID;
"""

Place = tuple[str, int, int]


class PairIndex:
    """A SQLite file and a folder beside it; its memory does not grow with the pairs.

    Guarantee: after `catch_up` it holds exactly the pairs of the segments.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._db = _open(path)
        except sqlite3.OperationalError:
            raise  # the disk, not the file
        except sqlite3.DatabaseError:
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._db = _open(path)
        self._ids_folder = path.with_suffix(".ids")
        self._ids_folder.mkdir(exist_ok=True)
        self._ids = self._same_ids()
        self._take_over_ids()

    def close(self) -> None:
        self._db.close()

    def catch_up(self, folder: Path, segments: Iterable[Segment]) -> None:
        """Take in the segments that it does not know; an index of other segments is emptied.

        Raises: PairstreamError when a segment is not what its name says.
        """
        unknown = {str(segment.path): segment for segment in segments}
        known = [path for (path,) in self._db.execute("SELECT path FROM segments")]
        if all(path in unknown for path in known):
            for path in known:
                del unknown[path]
        else:
            self._db.executescript("DELETE FROM pairs; DELETE FROM segments;")
            self._ids = self._new_ids()
        try:
            for segment in unknown.values():
                self._insert(segment, _rows_of(folder, segment))
        finally:
            self._take_over_ids()

    def add(self, segment: Segment, rows: Iterable[tuple[str, int, int]]) -> None:
        """Record a closed segment and its rows (pair_id, byte offset, length) at once."""
        self._insert(segment, rows)
        self._take_over_ids()

    def _insert(self, segment: Segment, rows: Iterable[tuple[str, int, int]]) -> None:
        added = sorted((bytes.fromhex(pair_id), at, length) for pair_id, at, length in rows)
        with self._db:
            self._db.execute("BEGIN")
            number = self._db.execute(
                "INSERT INTO segments (path) VALUES (?)", (str(segment.path),)
            ).lastrowid
            self._db.executemany(
                "INSERT INTO pairs VALUES (?, ?, ?, ?)",
                ((number, pair_id, at, length) for pair_id, at, length in added),
            )
            crash_point("trainer.index_before_commit")
        crash_point("trainer.index_committed")

    def known(self, pair_ids: list[str]) -> set[str]:
        """Those of the ids that stand in a segment."""
        return {each.hex() for each in self._ids.known([bytes.fromhex(one) for one in pair_ids])}

    def in_order(self, segments: Iterable[Segment]) -> Iterator[Place]:
        """Path, byte offset and length of the segments' lines, in the order of pair_id."""
        self._db.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (number INTEGER PRIMARY KEY)")
        self._db.execute("DELETE FROM wanted")
        self._db.executemany(
            "INSERT INTO wanted SELECT number FROM segments WHERE path = ?",
            ((str(segment.path),) for segment in segments),
        )
        return self._db.execute(
            "SELECT path, offset, length FROM wanted CROSS JOIN segments USING (number) "
            "CROSS JOIN pairs ON segment = number ORDER BY pair_id"
        )

    @property
    def _newest(self) -> int:
        [number] = self._db.execute("SELECT coalesce(max(number), 0) FROM segments").fetchone()
        return int(number)

    def _take_over_ids(self) -> None:
        """Those of segments that `KnownIds` does not have yet."""
        waiting: list[bytes] = []
        newest = self._newest
        for number in range(self._ids.batches + 1, newest + 1):
            rows = self._db.execute("SELECT pair_id FROM pairs WHERE segment = ?", (number,))
            waiting += [pair_id for (pair_id,) in rows]
            if len(waiting) >= IDS_AT_ONCE or number == newest:
                self._ids.add(waiting, through=number)
                waiting.clear()

    def _same_ids(self) -> KnownIds:
        """Those of the table, or anew where they are another's or ahead of it."""
        token = self._db.execute("SELECT token FROM token").fetchone()
        ids = KnownIds(self._ids_folder / token[0]) if token else self._new_ids()
        return ids if ids.batches <= self._newest else self._new_ids()

    def _new_ids(self) -> KnownIds:
        for path in self._ids_folder.iterdir():
            shutil.rmtree(path)
        token = uuid.uuid4().hex
        with self._db:
            self._db.execute("BEGIN")
            self._db.execute("DELETE FROM token")
            self._db.execute("INSERT INTO token VALUES (?)", (token,))
        return KnownIds(self._ids_folder / token)


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    # The segments are the truth: a lost index costs time, never pairs.
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    [version] = db.execute("PRAGMA user_version").fetchone()
    if version != _VERSION:
        db.executescript(
            "DROP TABLE IF EXISTS pairs; DROP TABLE IF EXISTS segments; "
            f"DROP TABLE IF EXISTS token; PRAGMA user_version = {_VERSION};"
        )
    db.executescript(_SCHEMA)
    return db


def _rows_of(folder: Path, segment: Segment) -> list[tuple[str, int, int]]:
    verify_segment(folder, segment)
    rows, at = [], 0
    with (folder / segment.path).open("rb") as lines:
        for line in lines:
            rows.append((orjson.loads(line)["pair_id"], at, len(line)))
            at += len(line)
    if len(rows) != segment.rows:
        raise PairstreamError(
            f"{folder / segment.path} holds {len(rows)} rows, not the {segment.rows} that its name "
            "says: restore its name"
        )
    return rows
