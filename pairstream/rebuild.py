"""Rebuilds a dataset from a topic, through the same functions as the live one."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from confluent_kafka import Message

from pairstream.new_folder import folder_beside
from pairstream.reader import TopicReader
from schemas.errors import InvalidRecord
from schemas.rows import Pair, encode, parse_pair
from schemas.settings import PairingSettings, WorkerSettings
from schemas.source import Source
from streams.garbling import GARBLERS, garbled_pair
from streams.partition import Partition
from trainer.cut import publish, read_lines, write_content
from trainer.datasets import DatasetManifest, OffsetRange
from trainer.index import PairIndex
from trainer.segments import OpenSegment, Segment
from trainer.selection import CutSettings

PAIRS_A_SPOOL = 10_000
PROGRESS_EVERY = 100_000

Progress = Callable[[int, int], None]


class Spool:
    """Pairs on disk, each once, so that memory does not grow with the dataset."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = PairIndex(folder / "index.sqlite")
        self._segments: list[Segment] = []
        self._waiting: dict[str, bytes] = {}

    def add(self, pair: Pair) -> None:
        self._waiting.setdefault(pair.pair_id, encode(pair) + b"\n")
        if len(self._waiting) >= PAIRS_A_SPOOL:
            self._close()

    def _close(self) -> None:
        known = self._index.known(list(self._waiting))
        number = len(self._segments)
        segment = OpenSegment(self._folder, 0, number)
        for pair_id, line in self._waiting.items():
            if pair_id not in known:
                segment.add(pair_id, line)
        segment.cover(number)
        rows = segment.rows
        closed = segment.close()
        self._index.add(closed, rows)
        self._segments.append(closed)
        self._waiting.clear()

    def lines(self) -> Iterator[bytes]:
        """All lines in the order of pair_id."""
        self._close()
        return read_lines(self._folder, self._index.in_order(self._segments))


def rebuild_from_pairs(
    settings: PairingSettings,
    source: Source,
    out: Path,
    *,
    cut: CutSettings,
    since: datetime | None,
    like: DatasetManifest | None,
    progress: Progress,
) -> str:
    """Every valid pair of the topic, or those in the offsets of a published dataset.

    Returns: a line for the user. Raises: PairstreamError.
    """
    reader = TopicReader(settings, source.topic, source.partitions)
    _limit(reader, since, like)
    invalid = 0

    def pairs() -> Iterator[Pair]:
        nonlocal invalid
        for message in _counted(reader, progress):
            try:
                yield parse_pair(message.value())
            except InvalidRecord:
                invalid += 1

    manifest = _write(out, pairs(), reader, source, cut)
    return f"{_summary(manifest, out)}; {invalid} invalid records left out"


def rebuild_from_events(
    settings: PairingSettings,
    source: Source,
    out: Path,
    *,
    cut: CutSettings,
    since: datetime | None,
    progress: Progress,
) -> str:
    """Fold the events again; runs that are open at the end give nothing.

    Returns: a line for the user. Raises: PairstreamError.
    """
    reader = TopicReader(settings, source.topic, source.partitions)
    _limit(reader, since, None)
    folded = {number: Partition.by(settings) for number in range(source.partitions)}
    garbler = GARBLERS[settings.garbler]
    memory_ms = int(WorkerSettings().settled_run_memory_seconds * 1000)

    def pairs() -> Iterator[Pair]:
        for message in _counted(reader, progress):
            runs = folded[cast("int", message.partition())]
            now_ms = message.timestamp()[1]
            record = (message.key(), message.value(), cast("int", message.offset()))
            for settlement in runs.apply([record], now_ms=now_ms).settlements:
                yield from settlement.pairs
                for request in settlement.garble_requests:
                    yield garbled_pair(request, garbler)
                runs.forget(now_ms - memory_ms)

    manifest = _write(out, pairs(), reader, source, cut)
    still_open = sum(len(runs.open) for runs in folded.values())
    return f"{_summary(manifest, out)}; {still_open} runs are not settled yet"


def _limit(reader: TopicReader, since: datetime | None, like: DatasetManifest | None) -> None:
    if since is not None:
        reader.start_at(since)
    if like is not None:
        reader.restrict(
            {int(p): (offsets.from_, offsets.to) for p, offsets in like.offsets.items()}
        )


def _counted(reader: TopicReader, progress: Progress) -> Iterator[Message]:
    for count, message in enumerate(reader.read(), 1):
        yield message
        if count % PROGRESS_EVERY == 0:
            progress(count, reader.total)


def _write(
    out: Path, pairs: Iterable[Pair], reader: TopicReader, source: Source, cut: CutSettings
) -> DatasetManifest:
    with folder_beside(out) as temporary:
        spool = Spool(temporary)
        for pair in pairs:
            spool.add(pair)
        target = temporary / "dataset"
        target.mkdir()
        content = write_content(target, spool.lines(), cut)
        manifest = DatasetManifest(
            name=out.name,
            parent=None,
            created_at=datetime.now(UTC),
            pairs=content.pairs,
            runs=content.runs,
            rules=content.rules,
            offsets={str(p): OffsetRange(*offsets) for p, offsets in reader.ranges.items()},
            files=content.files,
            settings=cut,
            source=source,
            composition=content.composition,
        )
        publish(target, out, manifest)
    return manifest


def _summary(manifest: DatasetManifest, out: Path) -> str:
    held_out = manifest.files["eval.jsonl"].rows
    return f"{manifest.pairs} pairs of {manifest.runs} runs ({held_out} held out) in {out}"
