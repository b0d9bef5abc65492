"""From records of the pairs topic to segments, the index, and datasets.

Guarantee: a pair_id stands in one segment once, and so in one dataset at most, for ever; every
offset before the position is covered by a segment.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import structlog

from schemas.dead_letters import Header, Origin
from schemas.errors import InvalidRecord, PairstreamError
from schemas.rows import Pair, encode, parse_pair
from schemas.settings import TrainerSettings
from schemas.source import Source
from trainer.cut import choose, cut_dataset, read_lines, remove_unpublished
from trainer.datasets import DatasetManifest, read_manifest, uncut
from trainer.forgotten import ForgottenPairs, ForgottenRuns, mark_dataset
from trainer.index import PairIndex
from trainer.layout import DataDir, make_folder
from trainer.left_out import waiting_ids
from trainer.new_pairs import NewPairs
from trainer.segments import (
    OpenSegment,
    Segment,
    list_segments,
    next_offsets,
    remove_unfinished,
    verify_segment,
)
from trainer.selection import WAITS, CutSettings

log = structlog.get_logger()

# Origin, key, headers, value.
Record = tuple[Origin, bytes | None, list[Header], bytes | None]

# key, value, headers of a record that becomes a dead letter, where it came from, and why.
Refuse = Callable[[bytes | None, bytes | None, Iterable[Header], Origin, InvalidRecord], None]


class Intake:
    """One data directory's segments; only the holder of its lock may have one.

    `starts` are the first offsets to read, by partition, when there are no segments yet.

    Raises: PairstreamError when segments are missing or damaged.
    """

    def __init__(
        self, data: DataDir, settings: TrainerSettings, source: Source, starts: Mapping[int, int]
    ) -> None:
        self._data = data
        self._settings = settings
        self._source = source
        make_folder(data.segments)
        remove_unfinished(data.segments)
        remove_unpublished(data)
        segments = list_segments(data.segments)
        names = data.dataset_names()
        self._parent = read_manifest(data.datasets / names[-1]) if names else None
        self._waiting: frozenset[str] = frozenset()
        if self._parent is not None:
            self._waiting = waiting_ids(data.datasets / names[-1], self._parent)
        _check_complete(data, segments, starts, self._parent)
        self._forgotten = ForgottenRuns(data)
        self._gone = ForgottenPairs(data)
        if self._parent is not None and self._forgotten.current():
            # A run may have been forgotten while it was published, by a trainer that died then.
            mark_dataset(data.datasets / names[-1], self._forgotten.current())
        self._index = PairIndex(data.index)
        self._index.catch_up(data.segments, segments)
        self._uncut = uncut(segments, self._parent)
        self.newcomers = NewPairs(settings.trigger_tasks)
        for segment in self._uncut:
            self.newcomers.read_segment(data.segments, segment)
        self._open: dict[int, OpenSegment] = {}
        self._open_ids: set[str] = set()
        self._opened_at = 0.0
        self._closed = {**starts, **next_offsets(segments)}

    @property
    def new_pairs(self) -> int:
        """Pairs that no cut has looked at yet, but for those that were forgotten meanwhile."""
        gone = self._gone.count(self._uncut, self._forgotten.current())
        return sum(segment.rows for segment in self._uncut) + len(self._open_ids) - gone

    @property
    def durable_positions(self) -> dict[int, int]:
        """The first offset of each partition that is in no closed segment."""
        return dict(self._closed)

    @property
    def positions(self) -> dict[int, int]:
        """The first offset of each partition that has not been taken in."""
        return self._closed | {partition: opened.next for partition, opened in self._open.items()}

    def take(self, records: list[Record], refuse: Refuse) -> int:
        """Take in records, in the order of each partition; returns how many pairs were new."""
        pairs: list[tuple[Origin, Pair | None]] = []
        for origin, key, headers, value in records:
            try:
                pairs.append((origin, parse_pair(value)))
            except InvalidRecord as error:
                refuse(key, value, headers, origin, error)
                pairs.append((origin, None))
        ids = [pair.pair_id for _, pair in pairs if pair is not None]
        known = self._index.known(ids) | self._open_ids.intersection(ids)
        forgotten = self._forgotten.current()
        passed_over = new = 0
        for origin, found in pairs:
            segment = self._open_segment(origin.partition)
            if found is not None and found.run_id in forgotten:
                passed_over += 1
            elif found is not None and found.pair_id not in known:
                known.add(found.pair_id)
                self._open_ids.add(found.pair_id)
                new += 1
                self.newcomers.add_pair(found.run_id, found.task_id)
                segment.add(found.pair_id, encode(found) + b"\n")
            segment.cover(origin.offset)
        if passed_over:
            log.info("forgotten_pairs_passed_over", pairs=passed_over)
        return new

    def skip_to(self, partition: int, position: int) -> None:
        """Cover offsets that hold no record for us, such as a transaction's end marks."""
        if position > self.positions[partition]:
            self._open_segment(partition).cover(position - 1)

    def _open_segment(self, partition: int) -> OpenSegment:
        if not self._open:
            self._opened_at = time.monotonic()
        if partition not in self._open:
            first = self._closed[partition]
            self._open[partition] = OpenSegment(self._data.segments, partition, first)
        return self._open[partition]

    def is_due(self) -> bool:
        """Whether the open segments are large or old enough to be closed."""
        if not self._open:
            return False
        age = time.monotonic() - self._opened_at
        return (
            len(self._open_ids) >= self._settings.segment_pairs
            or age >= self._settings.segment_seconds
        )

    def close_segments(self) -> None:
        """Close what is open; afterwards it survives anything."""
        for partition, opened in sorted(self._open.items()):
            rows = opened.rows
            segment = opened.close()
            self._index.add(segment, rows)
            self._uncut.append(segment)
            self.newcomers.add_segment(self._data.segments, segment)
            self._closed[partition] = segment.last + 1
            log.debug("segment_closed", path=str(segment.path), rows=segment.rows)
        self._open.clear()
        self._open_ids.clear()

    def cut(self) -> DatasetManifest | None:
        """Publish the next dataset: of all closed segments that stand in none yet, and of what
        waits. None: the settings let no pair of them be taken now.
        """
        self._verify_candidates()
        settings = CutSettings.of(self._settings)
        forgotten = self._forgotten.current()
        left_out = choose(self._candidates(), settings, forgotten)
        candidates = sum(segment.rows for segment in self._uncut) + len(self._waiting)
        if left_out and len(left_out) == candidates:
            reasons = dict(Counter(left_out.values()))
            log.warning("nothing_to_cut", candidates=candidates, left_out=reasons)
            return None
        manifest = cut_dataset(
            self._data,
            self._uncut,
            self._candidates(),
            parent=self._parent,
            source=self._source,
            settings=settings,
            left_out=left_out,
        )
        now_forgotten = self._forgotten.current()
        if now_forgotten is not forgotten:
            mark_dataset(self._data.datasets / manifest.name, now_forgotten)
        self._parent = manifest
        self._waiting = frozenset(p for p, reason in left_out.items() if reason in WAITS)
        self._uncut = []
        self.newcomers.clear()
        log.info(
            "dataset_published",
            dataset=manifest.name,
            pairs=manifest.pairs,
            runs=manifest.runs,
            rules=manifest.rules,
            left_out=manifest.left_out,
        )
        return manifest

    def _candidates(self) -> Iterator[bytes]:
        places = self._index.in_order(self._uncut, self._waiting)
        return read_lines(self._data.segments, places)

    def _verify_candidates(self) -> None:
        """What stands in a segment may have been damaged since it was written."""
        paths = self._index.paths_of(self._waiting)
        others = list_segments(self._data.segments) if paths else []
        for segment in [*self._uncut, *(each for each in others if str(each.path) in paths)]:
            verify_segment(self._data.segments, segment)

    def close(self) -> None:
        """Let go of the files; what is open is read again by the next start."""
        self._index.close()


def _check_complete(
    data: DataDir,
    segments: list[Segment],
    starts: Mapping[int, int],
    newest: DatasetManifest | None,
) -> None:
    """No segment is missing at either side, where `list_segments` cannot see it.

    A part read again would be laid out in other segments, and pairs at its edges be lost.
    """
    firsts = {segment.partition: segment.first for segment in reversed(segments)}
    for partition, first in firsts.items():
        if first != starts.get(partition):
            raise PairstreamError(
                f"segments of partition {partition} in {data.segments} begin at {first}, not at "
                f"{starts.get(partition)}: restore the first ones"
            )
    ends = {(segment.partition, segment.last + 1) for segment in segments}
    for key, offsets in newest.offsets.items() if newest else ():
        if (int(key), offsets.to) not in ends:
            raise PairstreamError(
                f"segments of partition {key} in {data.segments} do not lead up to {offsets.to}, "
                "where the newest dataset ends: restore them, or use a new --data-dir"
            )
