"""Rebuilds a dataset from a topic, through the same functions as the live one.

Partitions owe nothing to one another, so processes share them; what they give is merged by id.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pairstream.candidates import Candidates
from pairstream.merge_part import Merging
from pairstream.new_folder import folder_beside
from pairstream.part_process import run_parts
from pairstream.reader import Part, TopicReader
from pairstream.rebuild_part import Origin, Work
from pairstream.reports import Report
from pairstream.sorted_lines import merged
from schemas.errors import PairstreamError
from schemas.rows import SUCCESS_KINDS
from schemas.settings import GarblingSettings
from schemas.source import Source
from trainer.content import Content, join_shares
from trainer.cut import choose, publish
from trainer.datasets import DatasetKind, DatasetManifest, OffsetRange, pair_id_of
from trainer.forgotten import run_of
from trainer.known_ids import IDS_AT_ONCE, KnownIds
from trainer.selection import CutSettings
from trainer.unpaired import ID_PLACES, write_groups, write_labelled

Progress = Callable[[int, int], None]

# What the processes run.
FOLDING, MERGING = "pairstream.rebuild_part", "pairstream.merge_part"


@dataclass(frozen=True)
class Wanted:
    """What a rebuild is made from.

    Attributes:
        origin: every valid row of the topic of pairs, or of scored rows, or what folding the events
            again gives.
        kind: of scored rows, what becomes of them.
        since: leave out older records.
        like: only the candidates of a published dataset.
        forgotten: runs of which no pair is taken.
    """

    origin: Origin
    settings: GarblingSettings
    source: Source
    cut: CutSettings
    kind: DatasetKind = "pairs"
    since: datetime | None = None
    like: Candidates | None = None
    forgotten: frozenset[str] = frozenset()


class Rebuilt(NamedTuple):
    """`summary`: a line for the user; `not_redacted`: runs that are left out, as that failed."""

    summary: str
    not_redacted: int


def rebuild(wanted: Wanted, out: Path, progress: Progress) -> Rebuilt:
    """Raises: PairstreamError."""
    with folder_beside(out) as temporary:
        reader = _reader(wanted)
        # A model is loaded once, and an endpoint's bounds are those of one process.
        is_quick = wanted.origin != "events" or wanted.settings.garbler == "corrupt"
        processes = (os.cpu_count() or 1) if is_quick else 1
        parts = shares(reader.part, processes=processes)
        works = [
            _work(wanted, part, temporary / str(number), shares=processes)
            for number, part in enumerate(parts)
        ]
        reports = run_parts(FOLDING, works, lambda read: progress(read, reader.total))
        folders = [Path(work.folder) for work in works]
        lines = MergedLines(folders, shares=processes, kind=wanted.kind)
        if wanted.like is not None:
            lines.keep_to(wanted.like, temporary / "ids", wanted.source.topic)
        offsets = wanted.like.offsets if wanted.like else reader.ranges
        manifest = _write(temporary / "dataset", lines, out, wanted, offsets)
    told = [_summary(manifest, out), _remark(wanted.origin, reports)]
    if wanted.like is not None:
        told.append(wanted.like.compared(manifest))
    return Rebuilt("; ".join(told), sum(report.not_redacted for report in reports))


def _work(wanted: Wanted, part: Part, folder: Path, *, shares: int) -> Work:
    like = wanted.like
    return Work(
        origin=wanted.origin,
        settings=wanted.settings,
        topic=wanted.source.topic,
        part=part,
        folder=str(folder),
        shares=shares,
        kind=wanted.kind,
        offsets=like.offsets if like else None,
        waiting=like.waiting if like else frozenset(),
    )


def _reader(wanted: Wanted) -> TopicReader:
    reader = TopicReader(wanted.settings, wanted.source.topic, wanted.source.partitions)
    if wanted.since is not None:
        reader.start_at(wanted.since)
    like = wanted.like
    if like is not None and like.waiting:  # they stand anywhere before
        starts = {partition: low for partition, (low, _) in reader.ranges.items()}
        reader.restrict(
            {p: (min(starts[p], first), end) for p, (first, end) in like.offsets.items()}
        )
    elif like is not None:
        reader.restrict(like.offsets)
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


class MergedLines:
    """What the parts have written, in the order of the ids; again and again, if need be.

    Attributes:
        shares: folders with the lines of each range of ids.
        dropped: pairs that other datasets have.
    """

    def __init__(self, folders: list[Path], *, shares: int, kind: DatasetKind = "pairs") -> None:
        self._ids = ID_PLACES[kind]
        self.shares = [[folder / str(number) for folder in folders] for number in range(shares)]
        self.dropped: set[str] = set()

    def __iter__(self) -> Iterator[bytes]:
        for folders in self.shares:
            for line in merged(folders, self._ids):
                if not self.dropped or pair_id_of(line) not in self.dropped:
                    yield line

    def keep_to(self, like: Candidates, folder: Path, topic: str) -> None:
        """Drop what datasets before it have; few should be, whose ids stay in memory.

        Raises: PairstreamError when pairs that had waited for it are gone.
        """
        missing, here = set(like.waiting), KnownIds(folder)
        for number, part in enumerate(_chunks(map(pair_id_of, self)), 1):
            missing.difference_update(part)
            here.add([bytes.fromhex(pair_id) for pair_id in part], through=number)
        if missing:
            raise PairstreamError(
                f"{len(missing)} pairs that had waited for this dataset are no longer in {topic}: "
                "retention took them, and it cannot be rebuilt from there"
            )
        for part in _chunks(like.earlier()):
            known = here.known([bytes.fromhex(pair_id) for pair_id in part])
            self.dropped.update(each.hex() for each in known)


def _chunks(pair_ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(pair_ids)
    while part := list(islice(rest, IDS_AT_ONCE)):
        yield part


def _write(
    folder: Path, lines: MergedLines, out: Path, wanted: Wanted, offsets: dict[int, tuple[int, int]]
) -> DatasetManifest:
    folder.mkdir()
    content = _content(folder, lines, wanted)
    manifest = DatasetManifest(
        name=out.name,
        parent=None,
        created_at=datetime.now(UTC),
        pairs=content.pairs,
        runs=content.runs,
        rules=content.rules,
        offsets={str(p): OffsetRange(*range_) for p, range_ in offsets.items()},
        files=content.files,
        settings=wanted.cut,
        source=wanted.source,
        composition=content.composition,
        left_out=content.left_out,
        kind=wanted.kind,
    )
    publish(folder, out, manifest)
    return manifest


def _content(folder: Path, lines: MergedLines, wanted: Wanted) -> Content:
    if wanted.kind == "pairs":
        return _merge(folder, lines, wanted)
    write = write_labelled if wanted.kind == "kto" else write_groups
    return write(folder, _remembered(lines, wanted.forgotten), wanted.cut)


def _remembered(lines: Iterable[bytes], forgotten: frozenset[str]) -> Iterable[bytes]:
    if not forgotten:
        return lines
    return (line for line in lines if run_of(line).run_id not in forgotten)


def _merge(folder: Path, lines: MergedLines, wanted: Wanted) -> Content:
    """By as many processes as there are ranges."""
    left_out = choose(lines, wanted.cut, wanted.forgotten)
    works = [
        Merging(
            folder=str(folder.with_name(f"share-{number}")),
            sources=[str(source) for source in sources],
            settings=wanted.cut,
            left_out=left_out,
            dropped=frozenset(lines.dropped),
        )
        for number, sources in enumerate(lines.shares)
    ]
    run_parts(MERGING, works)
    return join_shares(folder, [Path(work.folder) for work in works], left_out)


def _remark(origin: Origin, reports: list[Report]) -> str:
    if origin == "events":
        return f"{sum(report.open_runs for report in reports)} runs are not settled yet"
    return f"{sum(report.invalid for report in reports)} invalid records left out"


def _summary(manifest: DatasetManifest, out: Path) -> str:
    held_out = manifest.files["eval.jsonl"].rows
    left_out = sum(manifest.left_out.values())
    others = f"; {left_out} more are left out or wait, as the settings say" if left_out else ""
    return f"{_counts(manifest)} of {manifest.runs} runs ({held_out} held out) in {out}{others}"


def _counts(manifest: DatasetManifest) -> str:
    if manifest.kind == "pairs":
        return f"{manifest.pairs} pairs"
    if manifest.kind == "groups":
        groups = sum(entry.rows for entry in manifest.files.values())
        return f"{groups} groups with {manifest.pairs} responses"
    good = sum(manifest.rules.get(kind, 0) for kind in SUCCESS_KINDS)
    return f"{manifest.pairs} scored rows ({good} good ones)"
