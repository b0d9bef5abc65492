"""Forgotten runs as text for people."""

from pairstream.terminal import counted, printable, shortened, shown_time
from trainer.forgotten import MarkedRun

ID_WIDTH = 80


def marked_line(run: MarkedRun) -> str:
    """A forgotten run and its pairs."""
    name = shortened(printable(run.run_id), ID_WIDTH)
    return f"{name}  {counted(run.pairs, 'pair')}, forgotten {shown_time(run.time)}"
