"""The table: every row that is measured, by its letter."""

from benchmarks import (
    client,
    latency,
    long_runs,
    memory,
    replay,
    restart,
    scaling,
    startup,
    trainer,
    training,
    worker,
)
from benchmarks.bench import Row

_MODULES = (
    worker, replay, latency, restart, memory, long_runs, trainer, startup, scaling, client,
    training,
)  # fmt: skip

ROWS: tuple[Row, ...] = tuple(
    sorted((row for module in _MODULES for row in module.ROWS), key=lambda row: row.letter)
)
