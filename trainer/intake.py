"""From records of the pairs topic to segments, the index, and datasets.

Guarantee: a pair_id stands in one segment once, and so in one dataset once, for ever; every
offset before the position is covered by a segment.
"""

import time
from collections.abc import Callable, Iterable

import structlog

from schemas.dead_letters import Header, Origin
from schemas.errors import InvalidRecord
from schemas.rows import Pair, encode, parse_pair
from schemas.settings import TrainerSettings
from trainer.datasets import DatasetManifest, cut_dataset, read_lines, read_manifest, uncut
from trainer.index import PairIndex
from trainer.layout import DataDir
from trainer.segments import (
    OpenSegment,
    Segment,
    list_segments,
    next_offsets,
    remove_unfinished,
)
from trainer.source import Source

log = structlog.get_logger()

# key, value, headers of a record that becomes a dead letter, where it came from, and why.
Refuse = Callable[[bytes | None, bytes | None, Iterable[Header], Origin, InvalidRecord], None]


class Intake:
    """One data directory's segments; only the holder of its lock may have one."""

    def __init__(self, data: DataDir, settings: TrainerSettings, source: Source) -> None:
        self.data = data
        self.settings = settings
        self.source = source
        data.segments.mkdir(parents=True, exist_ok=True)
        remove_unfinished(data.segments)
        self.segments: list[Segment] = list_segments(data.segments)
        self.index = PairIndex(data.index)
        self.index.catch_up(data.segments, self.segments)
        self.parent = self._newest_dataset()
        self._open: dict[int, OpenSegment] = {}
        self._open_ids: set[str] = set()
        self._opened_at = 0.0
        self.positions = next_offsets(self.segments)

    def _newest_dataset(self) -> DatasetManifest | None:
        names = self.data.dataset_names()
        return read_manifest(self.data.datasets / names[-1]) if names else None

    @property
    def new_pairs(self) -> int:
        """Pairs in segments that stand in no dataset yet."""
        return sum(segment.rows for segment in uncut(self.segments, self.parent))

    @property
    def open_pairs(self) -> int:
        """Pairs in segments that are still open."""
        return len(self._open_ids)

    def take(
        self, records: list[tuple[Origin, bytes | None, list[Header], bytes | None]], refuse: Refuse
    ) -> None:
        """Take in records (origin, key, headers, value), in the order of each partition."""
        pairs: list[tuple[Origin, Pair | None]] = []
        for origin, key, headers, value in records:
            try:
                pair = parse_pair(value)
            except InvalidRecord as error:
                refuse(key, value, headers, origin, error)
                pairs.append((origin, None))
            else:
                pairs.append((origin, pair))
        ids = [pair.pair_id for _, pair in pairs if pair is not None]
        known = self.index.known(ids) | self._open_ids.intersection(ids)
        for origin, found in pairs:
            segment = self._open_segment(origin)
            if found is not None and found.pair_id not in known:
                known.add(found.pair_id)
                self._open_ids.add(found.pair_id)
                segment.add(found.pair_id, encode(found) + b"\n")
            segment.cover(origin.offset)

    def skip_to(self, partition: int, position: int) -> None:
        """Cover offsets that hold no record for us, such as a transaction's end marks."""
        if position > self.position(partition):
            self._open_segment(Origin("", partition, position - 1)).cover(position - 1)

    def position(self, partition: int) -> int:
        """The first offset that is not covered."""
        opened = self._open.get(partition)
        return opened.next if opened else self.positions.get(partition, 0)

    def _open_segment(self, origin: Origin) -> OpenSegment:
        if not self._open:
            self._opened_at = time.monotonic()
        if origin.partition not in self._open:
            first = self.positions.get(origin.partition, origin.offset)
            self._open[origin.partition] = OpenSegment(self.data.segments, origin.partition, first)
        return self._open[origin.partition]

    def is_due(self) -> bool:
        """Whether the open segments are large or old enough to be closed."""
        if not self._open:
            return False
        age = time.monotonic() - self._opened_at
        return (
            len(self._open_ids) >= self.settings.segment_pairs
            or age >= self.settings.segment_seconds
        )

    def close_segments(self) -> None:
        """Close what is open; afterwards it survives anything."""
        for partition, opened in sorted(self._open.items()):
            rows = opened.rows
            segment = opened.close()
            self.index.add(segment, rows)
            self.segments.append(segment)
            self.positions[partition] = segment.last + 1
            log.debug("segment_closed", path=str(segment.path), rows=segment.rows)
        self._open.clear()
        self._open_ids.clear()

    def cut(self) -> DatasetManifest:
        """Publish all closed segments that stand in no dataset yet as the next one."""
        segments = uncut(self.segments, self.parent)
        manifest = cut_dataset(
            self.data,
            segments,
            read_lines(self.data.segments, self.index.in_order(segments)),
            parent=self.parent,
            source=self.source,
            eval_fraction=self.settings.eval_fraction,
        )
        self.parent = manifest
        log.info(
            "dataset_published",
            dataset=manifest.name,
            pairs=manifest.pairs,
            runs=manifest.runs,
            rules=manifest.rules,
        )
        return manifest
