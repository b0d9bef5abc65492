"""The table: every row that is measured, by its letter."""

from benchmarks import worker
from benchmarks.bench import Row

ROWS: tuple[Row, ...] = tuple(sorted((*worker.ROWS,), key=lambda row: row.letter))
