"""Rebuilds a dataset from a topic, through the same functions as the live one.

Partitions owe nothing to one another, so processes share them; what they give is merged by pair_id.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pairstream.part_process import run_parts
from pairstream.reader import Part, TopicReader
from pairstream.rebuild_part import Origin, Report, Work
from pairstream.sorted_lines import merged
from schemas.errors import PairstreamError
from schemas.settings import GarblingSettings
from schemas.source import Source
from trainer.datasets import DatasetManifest, OffsetRange, publish, write_content

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Wanted:
    """What a rebuild is made from.

    Attributes:
        origin: every valid pair of the topic of pairs, or what folding the events again gives.
        since: leave out older records.
        like: only the offsets of this published dataset.
    """

    origin: Origin
    settings: GarblingSettings
    source: Source
    eval_fraction: float
    since: datetime | None = None
    like: DatasetManifest | None = None


def rebuild(wanted: Wanted, out: Path, progress: Progress) -> str:
    """Returns: a line for the user. Raises: PairstreamError."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PairstreamError(f"{out} is there already: name a new folder")
    reader = _reader(wanted)
    topic = wanted.source.topic
    # A model is loaded once, and an endpoint's bounds are those of one process.
    processes = (os.cpu_count() or 1) if wanted.settings.garbler == "corrupt" else 1
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    try:
        works = [
            Work(wanted.origin, wanted.settings, topic, part, str(temporary / str(number)))
            for number, part in enumerate(shares(reader.part, processes=processes))
        ]
        reports = run_parts(works, lambda read: progress(read, reader.total))
        lines = merged([Path(work.folder) for work in works])
        manifest = _write(temporary / "dataset", lines, out, wanted, reader.part)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return f"{_summary(manifest, out)}; {_remark(wanted.origin, reports)}"


def _reader(wanted: Wanted) -> TopicReader:
    reader = TopicReader(wanted.settings, wanted.source.topic, wanted.source.partitions)
    if wanted.since is not None:
        reader.start_at(wanted.since)
    if wanted.like is not None:
        offsets = wanted.like.offsets.items()
        reader.restrict({int(partition): (each.from_, each.to) for partition, each in offsets})
    return reader


def shares(part: Part, *, processes: int) -> list[Part]:
    """Divide partitions, the largest first, each to whom has the least; none is empty."""
    divided: list[dict[int, tuple[int, int]]] = [{} for _ in range(processes)]
    sizes = [0] * processes
    by_size = sorted(part.ranges.items(), key=lambda item: (item[1][0] - item[1][1], item[0]))
    for partition, (first, end) in by_size:
        if end > first:
            least = sizes.index(min(sizes))
            divided[least][partition] = (first, end)
            sizes[least] += end - first
    return [Part(ranges, part.since_ms) for ranges in divided if ranges]


def _write(
    folder: Path, lines: Iterable[bytes], out: Path, wanted: Wanted, part: Part
) -> DatasetManifest:
    folder.mkdir()
    content = write_content(folder, lines, eval_fraction=wanted.eval_fraction)
    manifest = DatasetManifest(
        name=out.name,
        parent=None,
        created_at=datetime.now(UTC),
        pairs=content.pairs,
        runs=content.runs,
        rules=content.rules,
        offsets={str(p): OffsetRange(*offsets) for p, offsets in part.ranges.items()},
        files=content.files,
        settings={"eval_fraction": wanted.eval_fraction},
        source=wanted.source,
    )
    publish(folder, out, manifest)
    return manifest


def _remark(origin: Origin, reports: list[Report]) -> str:
    if origin == "pairs":
        return f"{sum(report.invalid for report in reports)} invalid records left out"
    return f"{sum(report.open_runs for report in reports)} runs are not settled yet"


def _summary(manifest: DatasetManifest, out: Path) -> str:
    held_out = manifest.files["eval.jsonl"].rows
    return f"{manifest.pairs} pairs of {manifest.runs} runs ({held_out} held out) in {out}"
