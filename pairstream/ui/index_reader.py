"""What the pages ask the index; each answer takes a bounded time, however many runs there are."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pairstream.ui.index_tables import ALL, EVERY_KIND, FILE, open_for_reading
from schemas.json_errors import JSON_ERRORS
from schemas.rows import TrainingStep

# Rows that one page looks at to find those that it shows.
LOOKED_AT = 10_000

Row = Mapping[str, Any]


class Listed(NamedTuple):
    """One page of a list, newest first; `older` is where the next one begins, null at the end.

    `looked_at` rows were held against the filter.
    """

    rows: Sequence[Row]
    older: int | None
    looked_at: int


class Group(NamedTuple):
    """Settled runs of one agent, task or policy; `kinds` counts them by how they ended."""

    name: str
    runs: int
    pairs: int
    kinds: dict[str, int]


class IndexReader:
    """Answers of one moment; made by `reading`."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def _all(self, sql: str, *values: object) -> list[sqlite3.Row]:
        return self._database.execute(sql, values).fetchall()

    # --- Runs ------------------------------------------------------------------------------------

    def kinds(self, subject: str = ALL, name: str = "") -> dict[str, int]:
        """Settled runs by how they ended, most frequent first."""
        sql = """SELECT kind, runs FROM groups WHERE subject = ? AND name = ? AND kind != ?
                 ORDER BY runs DESC, kind"""
        return {kind: runs for kind, runs in self._all(sql, subject, name, EVERY_KIND)}

    def sums(self, subject: str = ALL, name: str = "") -> tuple[int, int]:
        """Settled runs, and the pairs that they gave."""
        sql = "SELECT runs, pairs FROM groups WHERE subject = ? AND name = ? AND kind = ?"
        found = self._all(sql, subject, name, EVERY_KIND)
        return (found[0][0], found[0][1]) if found else (0, 0)

    def groups(self, subject: str, *, limit: int) -> list[Group]:
        """Those with the most runs."""
        sql = """SELECT name, runs FROM groups WHERE subject = ? AND kind = ?
                 ORDER BY runs DESC, name LIMIT ?"""
        return [
            Group(name, *self.sums(subject, name), self.kinds(subject, name))
            for name, _ in self._all(sql, subject, EVERY_KIND, limit)
        ]

    def hours(self, subject: str = ALL, name: str = "") -> list[tuple[int, str, int]]:
        """Hours since 1970 with the runs that were settled in them, by how they ended."""
        sql = """SELECT hour, kind, runs FROM hours WHERE subject = ? AND name = ?
                 ORDER BY hour, kind"""
        return [(hour, kind, runs) for hour, kind, runs in self._all(sql, subject, name)]

    def outcomes(self, wanted: Mapping[str, str], *, before: int | None, limit: int) -> Listed:
        """Settled runs; `wanted` by column, of `OUTCOME_COLUMNS`."""
        return self._listed("outcomes", OUTCOME_COLUMNS, wanted, (), before, limit)

    def outcome(self, run_id: str) -> Row | None:
        found = self._all("SELECT * FROM outcomes WHERE run_id = ?", run_id)
        return dict(found[0]) if found else None

    # --- Pairs -----------------------------------------------------------------------------------

    def rules(self) -> dict[str, int]:
        """Pairs by rule, most frequent first."""
        sql = "SELECT rule, pairs FROM pair_rules ORDER BY pairs DESC, rule"
        return {rule: pairs for rule, pairs in self._all(sql)}

    def pairs(
        self,
        wanted: Mapping[str, str],
        *,
        gap: tuple[float | None, float | None],
        before: int | None,
        limit: int,
    ) -> Listed:
        """Pairs; `wanted` by column, of `PAIR_COLUMNS`; `gap` is between the scores, or any."""
        low, high = gap
        also: list[tuple[str, object]] = []
        if low is not None:
            also.append(("gap >= ?", low))
        if high is not None:
            also.append(("gap <= ?", high))
        return self._listed("pairs", PAIR_COLUMNS, wanted, also, before, limit)

    def pair(self, pair_id: str) -> Row | None:
        """Where it lies, and its head. A text that is no id is none's."""
        try:
            key = bytes.fromhex(pair_id)
        except ValueError:
            return None
        found = self._all("SELECT * FROM pairs WHERE pair_id = ?", key)
        return dict(found[0]) if found else None

    def pairs_of_run(self, run_id: str, *, limit: int) -> list[Row]:
        sql = "SELECT * FROM pairs WHERE run_id = ? ORDER BY number LIMIT ?"
        return [dict(row) for row in self._all(sql, run_id, limit)]

    # --- Dead letters and trainings --------------------------------------------------------------

    def letter_counts(self) -> list[tuple[str, str, int]]:
        """Topic, reason and how many, most frequent first."""
        sql = """SELECT topic, reason, letters FROM letter_counts
                 ORDER BY letters DESC, topic, reason"""
        return [(topic, reason, letters) for topic, reason, letters in self._all(sql)]

    def letters(self, *, run_id: str | None = None, limit: int) -> list[Row]:
        """The newest ones, of all or of one run."""
        where = "WHERE run_id = ? ORDER BY time_ms DESC" if run_id else "ORDER BY time_ms DESC"
        values = (run_id, limit) if run_id else (limit,)
        sql = f"SELECT * FROM letters {where} LIMIT ?"  # noqa: S608 - texts of ours
        return [dict(row) for row in self._all(sql, *values)]

    def steps(self, training_id: str | None = None) -> list[TrainingStep]:
        """What was told of all trainings, or of one; what cannot be read is left out."""
        where = "WHERE training_id = ?" if training_id else ""
        sql = f"SELECT value FROM steps {where} ORDER BY topic_partition, offset"  # noqa: S608
        values = (training_id,) if training_id else ()
        return list(_decoded(value for (value,) in self._all(sql, *values)))

    def _listed(
        self,
        table: str,
        columns: Sequence[str],
        wanted: Mapping[str, str],
        also: Sequence[tuple[str, object]],
        before: int | None,
        limit: int,
    ) -> Listed:
        """Walk down the index of the first column that is asked for, and look at what it gives.

        `columns` stand in the order of how few rows each is likely to leave.
        """
        asked = [(column, wanted[column]) for column in columns if wanted.get(column)]
        inner: list[tuple[str, object]] = [(f"{column} = ?", value) for column, value in asked[:1]]
        if before is not None:
            inner.append(("number < ?", before))
        outer = [*((f"{column} = ?", value) for column, value in asked[1:]), *also]
        # With nothing but the walk to hold against, it ends by itself.
        look = LOOKED_AT if outer else limit + 1
        source = f"""SELECT * FROM {table} {_where(inner)}
                     ORDER BY number DESC LIMIT {look}"""  # noqa: S608 - names of ours
        values = [value for _, value in inner]
        rows = self._all(
            f"SELECT * FROM ({source}) {_where(outer)} ORDER BY number DESC LIMIT {limit + 1}",  # noqa: S608
            *values,
            *(value for _, value in outer),
        )
        shown = [dict(row) for row in rows[:limit]]
        if len(rows) > limit:
            return Listed(shown, shown[-1]["number"], len(rows))
        if not outer:
            return Listed(shown, None, len(rows))
        last = f"SELECT min(number), count(*) FROM (SELECT number FROM ({source}))"  # noqa: S608
        ((number, looked_at),) = self._all(last, *values)
        return Listed(shown, number if looked_at == look else None, looked_at)


# How few rows a value of each column is likely to leave: the first is walked down.
PAIR_COLUMNS = ("run_id", "task_id", "agent_id", "rule")
OUTCOME_COLUMNS = ("task_id", "agent_id", "policy_id", "kind")


def _where(conditions: Sequence[tuple[str, object]]) -> str:
    return f"WHERE {' AND '.join(text for text, _ in conditions)}" if conditions else ""


def _decoded(values: Iterator[bytes]) -> Iterator[TrainingStep]:
    decoder = msgspec.json.Decoder(TrainingStep)
    for value in values:
        try:
            yield decoder.decode(value)
        except JSON_ERRORS:
            continue


@contextmanager
def reading(data_dir: Path) -> Iterator[IndexReader]:
    """A reader of the index in a data directory."""
    with open_for_reading(data_dir / FILE) as database:
        yield IndexReader(database)
