"""Pairs on their way from the topic to the datasets: each stands once, to the byte as it came.

Memory: ids and digests of the pairs of one partition, in the topic and in its segments.
"""

from bisect import bisect_right

from pairstream.verify.files import DataFiles, Standing, digest_of_line, id_bytes
from pairstream.verify.report import Checks
from pairstream.verify.segments import SegmentFile, read_rows
from pairstream.verify.snapshot import Scope
from schemas.rows import Pair, encode

# A pair's line in the topic, and whether its run is forgotten; or a row of a segment.
InTopic = tuple[int, bytes, bool]
InSegment = tuple[SegmentFile, bytes]


FORGOTTEN = "pairs of forgotten runs are in no segment"


class PairJourney:
    """One data directory against the topic that it was filled from.

    `low` and `end` of a partition are the offsets that were read.
    """

    def __init__(self, checks: Checks, files: DataFiles, scope: Scope) -> None:
        self._once = checks.once
        self._rebuild = checks.rebuild
        self._files = files
        self._checks = checks
        self._scope = scope
        self._damaged: set[int] = set()
        self._topic: dict[bytes, InTopic] = {}

    def see(self, pair: Pair, offset: int) -> None:
        """Take in a valid pair of the topic; the first of its id counts."""
        line = digest_of_line(encode(pair) + b"\n")
        is_forgotten = pair.run_id in self._files.forgotten
        self._topic.setdefault(id_bytes(pair.pair_id), (offset, line, is_forgotten))

    def compare(self, partition: int, *, low: int, at: str) -> None:
        """Hold a partition's segments against what was seen of it, and let go of it.

        `at`: topic and partition.
        """
        segments = self._files.segments.get(partition, [])
        for segment in segments:
            segment.dataset = self._dataset_of(segment)
        rows = self._rows(segments)
        for pair_id, (offset, digest, is_forgotten) in self._topic.items():
            home = _covering(segments, offset)
            if is_forgotten and pair_id not in rows:
                self._once.note(FORGOTTEN)
            elif home is not None and home.is_sound:
                self._compare_segment(pair_id, digest, rows.get(pair_id), f"{at}/{offset}")
        for pair_id, (segment, digest) in rows.items():
            path = str(segment.path)
            if pair_id not in self._topic and segment.first >= low:
                self._once.found("a row that the topic has not", id=pair_id.hex(), at=path)
            self._compare_dataset(pair_id, segment, digest)
        self._note_damage(partition, segments)
        self._topic.clear()

    def _rows(self, segments: list[SegmentFile]) -> dict[bytes, InSegment]:
        rows: dict[bytes, InSegment] = {}
        for segment in segments:
            found = read_rows(segment, self._checks.files)
            for row, line in found if segment.is_sound else ():
                if not self._scope.wants(row.run_id):
                    continue
                standing = (segment, digest_of_line(line))
                earlier = rows.setdefault(id_bytes(row.pair_id), standing)
                if earlier is not standing:
                    what = f"a pair that stands in {earlier[0].path.name} already"
                    self._once.found(what, id=row.pair_id, at=str(segment.path))
        return rows

    def _compare_segment(
        self, pair_id: bytes, digest: bytes, row: InSegment | None, at: str
    ) -> None:
        self._once.checked += 1
        if row is None:
            self._once.found("a pair of the topic in no segment", id=pair_id.hex(), at=at)
        elif row[1] != digest:
            what = f"another line than the topic's ({at})"
            self._rebuild.found(what, id=pair_id.hex(), at=str(row[0].path))

    def _compare_dataset(self, pair_id: bytes, segment: SegmentFile, digest: bytes) -> None:
        datasets = self._files.datasets
        standing = self._files.standing.pop(pair_id, None)
        number, is_candidate = self._files.fates.take(pair_id, segment.dataset, len(datasets))
        stands_in = standing.dataset if standing else None
        concerned = [n for n in (segment.dataset, number, stands_in) if n is not None]
        if not all(datasets[n].is_sound for n in concerned):
            return
        at = str(segment.path)
        if not is_candidate:
            what = "a row that a dataset leaves out, of which it was no candidate"
            self._once.found(what, id=pair_id.hex(), at=at)
        elif stands_in != number:
            there = "none" if number is None else datasets[number].name
            self._once.found(
                f"a row that should stand in the dataset {there}", id=pair_id.hex(), at=at
            )
        elif standing is not None:
            self._rebuild.checked += 1
            if standing.digest != digest:
                what = f"another line in {datasets[standing.dataset].name} than in its segment"
                self._rebuild.found(what, id=pair_id.hex(), at=at)

    def _dataset_of(self, segment: SegmentFile) -> int | None:
        for number, dataset in enumerate(self._files.datasets):
            if dataset.covers(segment.partition, segment.first):
                return number
        return None

    def _note_damage(self, partition: int, segments: list[SegmentFile]) -> None:
        """Datasets of which some segments are gone or damaged: their rows cannot be judged."""
        for number, dataset in enumerate(self._files.datasets):
            range_ = dataset.manifest.offsets.get(str(partition))
            if range_ is None:
                continue
            sound = [s for s in segments if s.is_sound and range_.from_ <= s.first < range_.to]
            covered = sum(segment.last + 1 - segment.first for segment in sound)
            if covered != range_.to - range_.from_:
                self._damaged.add(number)

    def finish(self) -> None:
        """Judge the rows of datasets that no segment has."""
        left: list[tuple[bytes, Standing]] = list(self._files.standing.items())
        for pair_id, standing in left:
            dataset = self._files.datasets[standing.dataset]
            if dataset.is_sound and standing.dataset not in self._damaged:
                self._once.found("a row that no segment has", id=pair_id.hex(), at=dataset.name)
        if self._scope.run_id is None:
            self._judge_lists()

    def _judge_lists(self) -> None:
        """What is listed and was met in no segment."""
        fates = self._files.fates
        listed = {pair_id: last for pair_id, (_, last) in fates.waited.items()} | fates.left
        for pair_id, number in listed.items():
            dataset = self._files.datasets[number]
            if dataset.is_sound and not self._damaged.intersection(range(number + 1)):
                what = "a pair that is left out and in no segment"
                self._once.found(what, id=pair_id.hex(), at=dataset.name)


def _covering(segments: list[SegmentFile], offset: int) -> SegmentFile | None:
    place = bisect_right(segments, offset, key=lambda segment: segment.first) - 1
    if place < 0 or segments[place].last < offset:
        return None
    return segments[place]
