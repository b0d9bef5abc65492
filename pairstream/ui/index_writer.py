"""Writes rows into the index; a batch and the positions behind it stand there together or not.

Rows that come twice count once.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pairstream.ui.index_rows import LetterHead, OutcomeHead, PlacedPair, StepRecord, TimedOutcome
from pairstream.ui.index_tables import ALL, EVERY_KIND, TABLES, open_for_writing
from schemas.source import Source

HOUR_MS = 3_600_000

_INSERT_PAIR = """
INSERT OR IGNORE INTO pairs (pair_id, run_id, strategy_id, rule, agent_id, task_id, policy_id,
    chosen_score, rejected_score, gap, garbler, time_ms, partition, offset, segment, start, length)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PLACE_PAIR = """
UPDATE pairs SET partition = coalesce(?, partition), offset = coalesce(?, offset),
    segment = coalesce(?, segment), start = coalesce(?, start), length = coalesce(?, length),
    time_ms = coalesce(time_ms, ?)
WHERE pair_id = ?
"""
_INSERT_OUTCOME = """
INSERT OR IGNORE INTO outcomes (run_id, kind, strategies, attempts, successes, void, pairs,
    scored_rows, settled_by, agent_id, task_id, policy_id, time_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_ADD_TO_RULE = """
INSERT INTO pair_rules VALUES (?, ?) ON CONFLICT DO UPDATE SET pairs = pairs + excluded.pairs
"""
_ADD_TO_GROUP = """
INSERT INTO groups VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET runs = runs + excluded.runs, pairs = pairs + excluded.pairs
"""
_ADD_TO_HOUR = """
INSERT INTO hours VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET runs = runs + excluded.runs
"""
_ADD_TO_LETTERS = """
INSERT INTO letter_counts VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET letters = letters + excluded.letters
"""

Positions = dict[tuple[str, int], int]


@dataclass
class Batch:
    """What is written at once; `segments` are wholly in `pairs`."""

    pairs: list[PlacedPair] = field(default_factory=list)
    outcomes: list[TimedOutcome] = field(default_factory=list)
    letters: list[LetterHead] = field(default_factory=list)
    steps: list[StepRecord] = field(default_factory=list)
    segments: list[str] = field(default_factory=list)
    positions: Positions = field(default_factory=dict)


class IndexWriter:
    """The one that writes; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._database = open_for_writing(path)

    def close(self) -> None:
        self._database.close()

    def positions(self) -> Positions:
        """Where to read on, by topic and partition."""
        rows = self._database.execute("SELECT topic, partition, next FROM positions")
        return {(topic, partition): next_ for topic, partition, next_ in rows}

    def segments(self) -> set[str]:
        """Those that are taken in."""
        return {path for (path,) in self._database.execute("SELECT path FROM segments")}

    def source(self) -> list[Source] | None:
        """What `set_source` was told."""
        row = self._database.execute("SELECT value FROM meta WHERE name = 'source'").fetchone()
        return msgspec.json.decode(row[0], type=list[Source]) if row else None

    def set_source(self, source: Sequence[Source]) -> None:
        """Remember which topics the positions are of."""
        value = msgspec.json.encode(source).decode()
        self._database.execute("INSERT OR REPLACE INTO meta VALUES ('source', ?)", (value,))

    def clear(self) -> None:
        """Forget everything but its version."""
        self._database.execute("BEGIN IMMEDIATE")
        for table in TABLES:
            if table != "meta":
                self._database.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours
        self._database.execute("DELETE FROM meta WHERE name != 'version'")
        self._database.execute("COMMIT")

    def take(self, batch: Batch) -> None:
        """Write all of it or, after an error, nothing."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._take(batch)
        except BaseException:
            if self._database.in_transaction:  # SQLite may have ended it
                self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def _take(self, batch: Batch) -> None:
        self._take_pairs(batch.pairs)
        self._take_outcomes(batch.outcomes)
        self._take_letters(batch.letters)
        many = self._database.executemany
        many("INSERT OR IGNORE INTO steps VALUES (?, ?, ?, ?)", batch.steps)
        many("INSERT OR IGNORE INTO segments VALUES (?)", [(path,) for path in batch.segments])
        places = [(*place, next_) for place, next_ in batch.positions.items()]
        many("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", places)

    def _take_pairs(self, pairs: Iterable[PlacedPair]) -> None:
        rules: Counter[str] = Counter()
        for pair, place in pairs:
            row = (
                pair.key, pair.run_id, pair.strategy_id, pair.rule, pair.agent_id, pair.task_id,
                pair.policy_id, pair.chosen_score, pair.rejected_score, pair.gap, pair.garbler,
                place.time_ms, *place[:5],
            )  # fmt: skip
            if self._database.execute(_INSERT_PAIR, row).rowcount:
                rules[pair.rule] += 1
            else:
                self._database.execute(_PLACE_PAIR, (*place, pair.key))
        self._database.executemany(_ADD_TO_RULE, rules.items())

    def _take_outcomes(self, outcomes: Iterable[TimedOutcome]) -> None:
        new = [timed for timed in outcomes if self._insert_outcome(timed)]
        self._database.executemany(_ADD_TO_GROUP, _rows(_group_sums(new)))
        self._database.executemany(_ADD_TO_HOUR, _rows(_hour_sums(new)))

    def _insert_outcome(self, timed: TimedOutcome) -> bool:
        told = timed.outcome
        row = (
            told.run_id, told.kind, told.strategies, told.attempts, told.successes, told.void,
            told.pairs, told.scored_rows, told.settled_by, told.agent_id, told.task_id,
            told.policy_id, timed.time_ms,
        )  # fmt: skip
        return bool(self._database.execute(_INSERT_OUTCOME, row).rowcount)

    def _take_letters(self, letters: Iterable[LetterHead]) -> None:
        counts: Counter[tuple[str, str]] = Counter()
        for letter in letters:
            insert = "INSERT OR IGNORE INTO letters VALUES (?, ?, ?, ?, ?, ?, ?)"
            if self._database.execute(insert, letter).rowcount:
                counts[letter.topic, letter.reason] += 1
        self._database.executemany(_ADD_TO_LETTERS, _rows({k: (n,) for k, n in counts.items()}))


def _rows(
    sums: Mapping[tuple[str | int, ...], tuple[int, ...]],
) -> Iterable[tuple[str | int, ...]]:
    return ((*key, *numbers) for key, numbers in sums.items())


def _subjects(outcome: OutcomeHead) -> list[tuple[str, str]]:
    """What a run counts for; one that names no agent, task or policy counts for none."""
    named = (
        ("agent", outcome.agent_id), ("task", outcome.task_id), ("policy", outcome.policy_id)
    )  # fmt: skip
    return [(ALL, ""), *((subject, name) for subject, name in named if name is not None)]


def _group_sums(outcomes: Iterable[TimedOutcome]) -> dict[tuple[str | int, ...], tuple[int, ...]]:
    runs: Counter[tuple[str, str, str]] = Counter()
    pairs: Counter[tuple[str, str, str]] = Counter()
    for told, _ in outcomes:
        for subject in _subjects(told):
            for kind in (told.kind, EVERY_KIND):
                runs[*subject, kind] += 1
                pairs[*subject, kind] += told.pairs
    return {key: (number, pairs[key]) for key, number in runs.items()}


def _hour_sums(outcomes: Iterable[TimedOutcome]) -> dict[tuple[str | int, ...], tuple[int, ...]]:
    runs: Counter[tuple[str, str, int, str]] = Counter()
    for told, time_ms in outcomes:
        for subject in _subjects(told):
            runs[*subject, time_ms // HOUR_MS, told.kind] += 1
    return {key: (number,) for key, number in runs.items()}
