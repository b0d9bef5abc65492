"""Rebuilds a dataset from a topic, through the same functions as the live one."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import cast

from confluent_kafka import Message

from pairstream.candidates import Candidates
from pairstream.new_folder import folder_beside
from pairstream.reader import TopicReader
from schemas.errors import InvalidRecord, PairstreamError
from schemas.rows import Pair, encode, parse_pair
from schemas.settings import PairingSettings, WorkerSettings
from schemas.source import Source
from streams.garbling import GARBLERS, garbled_pair
from streams.partition import Partition
from trainer.cut import choose, publish, read_lines, write_content
from trainer.datasets import DatasetManifest, OffsetRange, pair_id_of
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
        self._dropped: set[str] = set()

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
        """All lines in the order of pair_id; again and again, if need be."""
        if self._waiting:
            self._close()
        lines = read_lines(self._folder, self._index.in_order(self._segments))
        return (line for line in lines if pair_id_of(line) not in self._dropped)

    def drop(self, pair_ids: Iterable[str]) -> None:
        """Leave those of them out that are here; few should be, their ids stay in memory."""
        if self._waiting:
            self._close()
        rest = iter(pair_ids)
        while part := list(islice(rest, PAIRS_A_SPOOL)):
            self._dropped |= self._index.known(part)


def rebuild_from_pairs(
    settings: PairingSettings,
    source: Source,
    out: Path,
    *,
    cut: CutSettings,
    since: datetime | None,
    like: Candidates | None,
    progress: Progress,
) -> str:
    """Every valid pair of the topic, or the candidates of a published dataset.

    Returns: a line for the user. Raises: PairstreamError.
    """
    reader = TopicReader(settings, source.topic, source.partitions)
    _limit(reader, since, like)
    invalid = 0
    missing = set(like.waiting if like else ())

    def pairs() -> Iterator[Pair]:
        nonlocal invalid
        for message in _counted(reader, progress):
            try:
                pair = parse_pair(message.value())
            except InvalidRecord:
                invalid += 1
                continue
            if like is None or like.has(message, pair.pair_id):
                missing.discard(pair.pair_id)
                yield pair
        if missing:
            raise PairstreamError(
                f"{len(missing)} pairs that had waited for this dataset are no longer in "
                f"{source.topic}: retention took them, and it cannot be rebuilt from there"
            )

    offsets = like.offsets if like else reader.ranges
    manifest = _write(out, pairs(), offsets, source, cut, earlier=like.earlier() if like else ())
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

    manifest = _write(out, pairs(), reader.ranges, source, cut)
    still_open = sum(len(runs.open) for runs in folded.values())
    return f"{_summary(manifest, out)}; {still_open} runs are not settled yet"


def _limit(reader: TopicReader, since: datetime | None, like: Candidates | None) -> None:
    if since is not None:
        reader.start_at(since)
    if like is not None and like.waiting:  # they stand anywhere before
        starts = {partition: low for partition, (low, _) in reader.ranges.items()}
        reader.restrict(
            {p: (min(starts[p], first), end) for p, (first, end) in like.offsets.items()}
        )
    elif like is not None:
        reader.restrict(like.offsets)


def _counted(reader: TopicReader, progress: Progress) -> Iterator[Message]:
    for count, message in enumerate(reader.read(), 1):
        yield message
        if count % PROGRESS_EVERY == 0:
            progress(count, reader.total)


def _write(
    out: Path,
    pairs: Iterable[Pair],
    offsets: dict[int, tuple[int, int]],
    source: Source,
    cut: CutSettings,
    *,
    earlier: Iterable[str] = (),
) -> DatasetManifest:
    with folder_beside(out) as temporary:
        spool = Spool(temporary)
        for pair in pairs:
            spool.add(pair)
        spool.drop(earlier)
        target = temporary / "dataset"
        target.mkdir()
        left_out = choose(spool.lines(), cut)
        content = write_content(target, spool.lines(), cut, left_out)
        manifest = DatasetManifest(
            name=out.name,
            parent=None,
            created_at=datetime.now(UTC),
            pairs=content.pairs,
            runs=content.runs,
            rules=content.rules,
            offsets={str(p): OffsetRange(*range_) for p, range_ in offsets.items()},
            files=content.files,
            settings=cut,
            source=source,
            composition=content.composition,
            left_out=content.left_out,
        )
        publish(target, out, manifest)
    return manifest


def _summary(manifest: DatasetManifest, out: Path) -> str:
    held_out = manifest.files["eval.jsonl"].rows
    left_out = sum(manifest.left_out.values())
    others = f"; {left_out} more are left out or wait, as the settings say" if left_out else ""
    return f"{manifest.pairs} pairs of {manifest.runs} runs ({held_out} held out) in {out}{others}"
