"""The tables of `ui.sqlite`; made from topics and files alone, so that it can be deleted at will.

Sums are kept beside the rows that they are of, so that no page counts a million of them.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

VERSION = 1

FILE, LOCK = "ui.sqlite", "ui.lock"

# Sums of `groups` and `hours` over all runs; the other subjects are agent, task and policy.
ALL = "all"
SUBJECTS = ("agent", "task", "policy")

# The kind under which `groups` has the sum of all kinds.
EVERY_KIND = ""

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE positions (
    topic TEXT, partition INTEGER, next INTEGER NOT NULL, PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE segments (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE pairs (
    number INTEGER PRIMARY KEY, pair_id BLOB NOT NULL UNIQUE, run_id TEXT NOT NULL,
    strategy_id TEXT NOT NULL, rule TEXT NOT NULL, agent_id TEXT, task_id TEXT, policy_id TEXT,
    chosen_score REAL, rejected_score REAL, gap REAL, garbler TEXT, time_ms INTEGER,
    partition INTEGER, offset INTEGER, segment TEXT, start INTEGER, length INTEGER
);
CREATE INDEX pairs_by_run ON pairs (run_id);
CREATE INDEX pairs_by_task ON pairs (task_id);
CREATE INDEX pairs_by_agent ON pairs (agent_id);
CREATE INDEX pairs_by_rule ON pairs (rule);
CREATE TABLE pair_rules (rule TEXT PRIMARY KEY, pairs INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE outcomes (
    number INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    strategies INTEGER, attempts INTEGER, successes INTEGER, void INTEGER, pairs INTEGER,
    scored_rows INTEGER, settled_by TEXT, agent_id TEXT, task_id TEXT, policy_id TEXT,
    time_ms INTEGER
);
CREATE INDEX outcomes_by_task ON outcomes (task_id);
CREATE INDEX outcomes_by_agent ON outcomes (agent_id);
CREATE INDEX outcomes_by_policy ON outcomes (policy_id);
CREATE INDEX outcomes_by_kind ON outcomes (kind);
CREATE TABLE groups (
    subject TEXT, name TEXT, kind TEXT, runs INTEGER NOT NULL, pairs INTEGER NOT NULL,
    PRIMARY KEY (subject, name, kind)
) WITHOUT ROWID;
CREATE INDEX groups_by_runs ON groups (subject, kind, runs, name);
CREATE TABLE hours (
    subject TEXT, name TEXT, hour INTEGER, kind TEXT, runs INTEGER NOT NULL,
    PRIMARY KEY (subject, name, hour, kind)
) WITHOUT ROWID;
CREATE TABLE letters (
    topic TEXT, partition INTEGER, offset INTEGER, time_ms INTEGER, reason TEXT NOT NULL,
    detail TEXT, run_id TEXT, PRIMARY KEY (topic, partition, offset)
) WITHOUT ROWID;
CREATE INDEX letters_by_time ON letters (time_ms);
CREATE INDEX letters_by_run ON letters (run_id);
CREATE TABLE letter_counts (
    topic TEXT, reason TEXT, letters INTEGER NOT NULL, PRIMARY KEY (topic, reason)
) WITHOUT ROWID;
CREATE TABLE steps (
    topic_partition INTEGER, offset INTEGER, training_id TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (topic_partition, offset)
) WITHOUT ROWID;
CREATE INDEX steps_by_training ON steps (training_id);
"""

TABLES = (
    "meta", "positions", "segments", "pairs", "pair_rules", "outcomes", "groups", "hours",
    "letters", "letter_counts", "steps",
)  # fmt: skip


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The index, made where there is none; a damaged one, or of another version, is replaced."""
    try:
        database = _connect(path)
        if _version(database) == VERSION:
            return database
        database.close()
    except sqlite3.DatabaseError:
        pass  # what it held comes again from the topics and files
    remove(path)
    database = _connect(path)
    with database:
        database.executescript(_TABLES)
        database.execute("INSERT INTO meta VALUES ('version', ?)", (str(VERSION),))
    return database


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA cache_size = -65536")
    return database


def _version(database: sqlite3.Connection) -> int | None:
    tables = database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()
    if not tables[0]:
        return None
    row = database.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
    return int(row[0]) if row else None


def open_for_reading(path: Path) -> closing[sqlite3.Connection]:
    """A connection that can change nothing; closed at the end of its `with`."""
    database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
    database.row_factory = sqlite3.Row
    # Of a large index most pages are in the system's memory: reading them there copies nothing.
    database.execute(f"PRAGMA mmap_size = {2**31}")
    return closing(database)


def is_damage(error: Exception) -> bool:
    """Whether it says that the file holds no database, or not a whole one."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def remove(path: Path) -> None:
    """The index and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
