"""Cuts datasets. Contract, section 5.

Guarantee: the same pairs and settings give the same files but for the manifest, to the byte,
whatever the order in which the pairs came; a dataset exists completely or not at all.
"""

import os
import shutil
import stat
from collections import deque
from collections.abc import Container, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec
import orjson

from schemas.crash_points import crash_point
from schemas.errors import PairstreamError
from schemas.source import Source
from trainer.content import NONE_LEFT_OUT, LeftOutIds, write_content
from trainer.datasets import DatasetManifest, OffsetRange
from trainer.index import Place
from trainer.layout import MANIFEST, DataDir, make_folder, sync_folder, write_durably
from trainer.segments import Segment, next_offsets
from trainer.selection import Candidate, CutSettings, Reason, candidate_of, select

OPEN_SEGMENTS = 64

_TEMPORARY = ".tmp"


def read_lines(folder: Path, places: Iterable[Place]) -> Iterator[bytes]:
    """Lines of segments by their places, with a bounded number of files open."""
    files: dict[str, BinaryIO] = {}
    try:
        for path, offset, length in places:
            if path not in files:
                if len(files) >= OPEN_SEGMENTS:
                    files.pop(next(iter(files))).close()
                files[path] = (folder / path).open("rb")
            yield os.pread(files[path].fileno(), length, offset)
    finally:
        for file in files.values():
            file.close()


def choose(
    lines: Iterable[bytes], settings: CutSettings, forgotten: Container[str] = ()
) -> dict[str, Reason]:
    """Why each pair that is not to be taken is not; lines come in the order of pair_id.

    Pairs of the runs that are `forgotten` count for nothing.
    """
    if settings.takes_all and not forgotten:
        return {}
    gone: dict[str, Reason] = {}

    def candidates() -> Iterator[Candidate]:
        for line in lines:
            row = orjson.loads(line)
            if row["run_id"] in forgotten:
                gone[row["pair_id"]] = "forgotten"
            else:
                yield candidate_of(row, settings.duplicates)

    if settings.takes_all:
        deque(candidates(), maxlen=0)
        return gone
    return select(candidates(), settings) | gone


def remove_unpublished(data: DataDir) -> None:
    """Remove what a killed trainer had begun to cut: its segments are cut again.

    What it had published is made safe, to which it may not have come: it is seen, so it stays.
    """
    for path in data.datasets.glob(f".ds-*{_TEMPORARY}"):
        shutil.rmtree(path)
    if data.datasets.is_dir():
        sync_folder(data.datasets)


def cut_dataset(
    data: DataDir,
    segments: list[Segment],
    lines: Iterable[bytes],
    *,
    parent: DatasetManifest | None,
    source: Source,
    settings: CutSettings,
    left_out: LeftOutIds = NONE_LEFT_OUT,
) -> DatasetManifest:
    """Publish the lines of the given segments and of what waits in the parent, which come in the
    order of pair_id.
    """
    name = data.next_dataset_name()
    if (data.datasets / name).exists():
        raise PairstreamError(f"{data.datasets / name} has no manifest: move it out of the folder")
    make_folder(data.datasets)
    temporary = data.datasets / f".{name}{_TEMPORARY}"
    temporary.mkdir()
    crash_point("trainer.cut_begun")
    content = write_content(temporary, lines, settings, left_out)
    crash_point("trainer.cut_written")
    manifest = DatasetManifest(
        name=name,
        parent=parent.name if parent else None,
        created_at=datetime.now(UTC),
        pairs=content.pairs,
        runs=content.runs,
        rules=content.rules,
        offsets=_offsets(segments, parent),
        files=content.files,
        settings=settings,
        source=source,
        composition=content.composition,
        left_out=content.left_out,
        waited=parent.waiting if parent else 0,
    )
    publish(temporary, data.datasets / name, manifest)
    return manifest


def publish(temporary: Path, target: Path, manifest: DatasetManifest) -> None:
    """Make the folder a dataset: the manifest last, then one rename."""
    encoded = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
    if os.getuid() == 0:  # containers of root's read it as another user, as they do its files
        temporary.chmod(stat.S_IMODE(temporary.stat().st_mode) | 0o555)
    write_durably(temporary / MANIFEST, encoded, read_only=True)
    crash_point("trainer.cut_manifest_written")
    temporary.rename(target)
    crash_point("trainer.cut_renamed")
    sync_folder(target.parent)
    crash_point("trainer.cut_published")


def _offsets(segments: list[Segment], parent: DatasetManifest | None) -> dict[str, OffsetRange]:
    """The ranges cut now; a partition without news keeps its end, so that it is not forgotten."""
    kept = parent.offsets if parent else {}
    ends = {key: OffsetRange(offsets.to, offsets.to) for key, offsets in kept.items()}
    for partition, end in next_offsets(segments).items():
        first = min(segment.first for segment in segments if segment.partition == partition)
        ends[str(partition)] = OffsetRange(first, end)
    return dict(sorted(ends.items(), key=lambda item: int(item[0])))
