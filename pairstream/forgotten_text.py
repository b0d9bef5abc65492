"""Forgotten runs as text for people."""

from pathlib import Path

from pairstream.terminal import counted, printable, shortened, shown_time
from trainer.datasets import read_manifest
from trainer.forgotten import MarkedRun, read_mark, without_forgotten
from trainer.layout import DataDir

ID_WIDTH = 80


def marked_warning(data: DataDir, dataset: Path) -> str | None:
    """What to say before a dataset is used that holds forgotten runs."""
    mark = read_mark(dataset)
    if mark is None:
        return None
    instead = without_forgotten(data, read_manifest(dataset).name.partition("-r")[0])
    remedy = (
        f"{instead} is without them"
        if instead
        else "`pairstream forget RUN_ID --yes --rewrite` writes one without them"
    )
    return f"{dataset} holds {counted(len(mark.runs), 'forgotten run')}: {remedy}"


def marked_line(run: MarkedRun) -> str:
    """A forgotten run and its pairs."""
    name = shortened(printable(run.run_id), ID_WIDTH)
    return f"{name}  {counted(run.pairs, 'pair')}, forgotten {shown_time(run.time)}"
