"""Which pairs are known, and where their lines stand. Rebuilt from the segments when it is lost."""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from schemas.crash_points import crash_point
from schemas.errors import PairstreamError
from trainer.segments import Segment, verify_segment

_SCHEMA = """
CREATE TABLE IF NOT EXISTS segments (
    number INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS pairs (
    pair_id BLOB PRIMARY KEY,
    segment INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL
) WITHOUT ROWID;
"""

IDS_A_QUERY = 500

Place = tuple[str, int, int]


class PairIndex:
    """One SQLite file; its memory does not grow with the pairs.

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
        for segment in unknown.values():
            self.add(segment, _rows_of(folder, segment))

    def add(self, segment: Segment, rows: Iterable[tuple[str, int, int]]) -> None:
        """Record a closed segment and its rows (pair_id, byte offset, length) at once."""
        with self._db:
            self._db.execute("BEGIN")
            number = self._db.execute(
                "INSERT INTO segments (path) VALUES (?)", (str(segment.path),)
            ).lastrowid
            self._db.executemany(
                "INSERT INTO pairs VALUES (?, ?, ?, ?)",
                ((bytes.fromhex(pair_id), number, at, length) for pair_id, at, length in rows),
            )
            crash_point("trainer.index_before_commit")
        crash_point("trainer.index_committed")

    def known(self, pair_ids: list[str]) -> set[str]:
        """Those of the ids that stand in a segment."""
        found: set[str] = set()
        for start in range(0, len(pair_ids), IDS_A_QUERY):
            part = [bytes.fromhex(pair_id) for pair_id in pair_ids[start : start + IDS_A_QUERY]]
            places = ",".join("?" * len(part))
            query = f"SELECT pair_id FROM pairs WHERE pair_id IN ({places})"  # noqa: S608 - only marks
            found.update(pair_id.hex() for (pair_id,) in self._db.execute(query, part))
        return found

    def in_order(self, segments: Iterable[Segment], also: Iterable[str] = ()) -> Iterator[Place]:
        """Path, byte offset and length of the segments' lines, and of those of pairs that are given
        by their ids beside, in the order of pair_id.
        """
        self._remember(also)
        self._db.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (number INTEGER PRIMARY KEY)")
        self._db.execute("DELETE FROM wanted")
        self._db.executemany(
            "INSERT INTO wanted SELECT number FROM segments WHERE path = ?",
            ((str(segment.path),) for segment in segments),
        )
        return self._db.execute(
            "SELECT path, offset, length FROM pairs JOIN segments ON segments.number = segment "
            "WHERE segment IN (SELECT number FROM wanted) "
            "OR pair_id IN (SELECT pair_id FROM named) ORDER BY pair_id"
        )

    def paths_of(self, pair_ids: Iterable[str]) -> set[str]:
        """Of the segments in which these pairs stand."""
        self._remember(pair_ids)
        found = self._db.execute(
            "SELECT DISTINCT path FROM named JOIN pairs ON pairs.pair_id = named.pair_id "
            "JOIN segments ON segments.number = segment"
        )
        return {path for (path,) in found}

    def _remember(self, pair_ids: Iterable[str]) -> None:
        self._db.execute("CREATE TEMP TABLE IF NOT EXISTS named (pair_id BLOB PRIMARY KEY)")
        self._db.execute("DELETE FROM named")
        self._db.executemany(
            "INSERT INTO named VALUES (?)", ((bytes.fromhex(pair_id),) for pair_id in pair_ids)
        )


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    # The segments are the truth: a lost index costs time, never pairs.
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
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
