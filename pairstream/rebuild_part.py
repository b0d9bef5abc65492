"""A rebuild's share of the partitions, in a process of its own: lines, sorted on disk.

Started by pairstream/rebuild.py. The work comes as JSON on standard input; reports go as JSON lines
to standard output.
"""

import asyncio
import gc
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Literal, cast

import msgspec
from confluent_kafka import Message
from msgspec import Struct

from pairstream.logs import set_up_logs
from pairstream.reader import Part, TopicReader
from pairstream.reports import Report, report
from pairstream.sorted_lines import SortedLines
from schemas.errors import InvalidRecord, PairstreamError
from schemas.rows import GarbleRequest, encode, parse_pair, parse_scored_row
from schemas.settings import GarblingSettings
from streams.garblers import open_garblers
from streams.pairs_only import PairsOnly
from streams.partition import Effects
from trainer.datasets import DatasetKind
from trainer.unpaired import ID_PLACES, LINE_OF

REPORT_EVERY = 50_000

MINUTE_MS = 60_000

# Requests that `corrupt` gets at once.
GARBLED_AT_ONCE = 1000

Origin = Literal["events", "pairs", "scored-rows"]


class Work(Struct, frozen=True):
    """What one process does; `folder` takes its lines, in so many `shares`.

    `kind`: that of the dataset which they are for.

    `offsets`: of pairs, only those in these, and those that are `waiting`; none: all.
    """

    origin: Origin
    settings: GarblingSettings
    topic: str
    part: Part
    folder: str
    shares: int
    kind: DatasetKind = "pairs"
    offsets: dict[int, tuple[int, int]] | None = None
    waiting: frozenset[str] = frozenset()


class Lines:
    """From records of one topic to lines."""

    invalid = 0
    open_runs = 0
    not_redacted = 0

    def of(self, messages: Iterable[Message]) -> Iterator[bytes]:
        """What the next records give, in the order of each partition."""
        raise NotImplementedError

    def rest(self) -> Iterator[bytes]:
        """What is still to come after the last record."""
        yield from ()

    def close(self) -> None:
        """Let go of what it works with."""


class LinesOfPairs(Lines):
    """Every valid pair that is wanted, as it is."""

    def __init__(self, work: Work) -> None:
        self._offsets = work.offsets
        self._waiting = work.waiting

    def of(self, messages: Iterable[Message]) -> Iterator[bytes]:
        for message in messages:
            try:
                pair = parse_pair(message.value())
            except InvalidRecord:
                self.invalid += 1
                continue
            if self._is_wanted(message, pair.pair_id):
                yield encode(pair) + b"\n"

    def _is_wanted(self, message: Message, pair_id: str) -> bool:
        if self._offsets is None or pair_id in self._waiting:
            return True
        first, end = self._offsets[cast("int", message.partition())]
        return first <= cast("int", message.offset()) < end


class LinesOfScoredRows(Lines):
    """Every valid scored row, in the shape that the dataset wants."""

    def __init__(self, kind: DatasetKind) -> None:
        self._line = LINE_OF[kind]

    def of(self, messages: Iterable[Message]) -> Iterator[bytes]:
        for message in messages:
            try:
                row = parse_scored_row(message.value())
            except InvalidRecord:
                self.invalid += 1
                continue
            yield self._line(row)


class LinesOfEvents(Lines):
    """Folds the runs again, and has the responses garbled, outside of any loop."""

    def __init__(self, settings: GarblingSettings) -> None:
        self._runs: dict[int, PairsOnly] = defaultdict(lambda: PairsOnly.by(settings))
        self._memory_ms = int(settings.settled_run_memory_seconds * 1000)
        self._garblers = open_garblers(settings)
        self._loop = asyncio.Runner()
        self._waiting: list[GarbleRequest] = []

    def of(self, messages: Iterable[Message]) -> Iterator[bytes]:
        # Time goes by in whole minutes of the log: a function of it, unlike the reads.
        for (partition, minute), group in groupby(messages, _partition_and_minute):
            runs, now_ms = self._runs[partition], minute * MINUTE_MS
            runs.forget(now_ms - self._memory_ms)
            records = [(each.key(), each.value(), cast("int", each.offset())) for each in group]
            yield from self._lines(runs.apply(records, now_ms=now_ms))
        self.open_runs = sum(len(runs.open) for runs in self._runs.values())

    def _lines(self, effects: Effects) -> Iterator[bytes]:
        for _, _, value in effects.rows:
            yield value + b"\n"
        for settlement in effects.settlements:
            self._waiting += settlement.garble_requests
            self.not_redacted += settlement.outcome.reason == "not_redacted"
        if len(self._waiting) >= (self._garblers.batch or GARBLED_AT_ONCE):
            yield from self.rest()

    def rest(self) -> Iterator[bytes]:
        waiting, self._waiting = self._waiting, []
        for pair in self._loop.run(self._garblers.pairs(waiting)):
            yield encode(pair) + b"\n"

    def close(self) -> None:
        self._loop.run(self._garblers.aclose())
        self._loop.close()


def _partition_and_minute(message: Message) -> tuple[int, int]:
    return cast("int", message.partition()), message.timestamp()[1] // MINUTE_MS


def write_lines(work: Work) -> Iterator[Report]:
    """Do the work. Raises: PairstreamError."""
    reader = TopicReader(work.settings, work.topic, 0, part=work.part)
    target = SortedLines(Path(work.folder), shares=work.shares, ids=ID_PLACES[work.kind])
    with closing(_lines(work)) as lines:
        read = told = 0
        for messages in reader.batches():
            for line in lines.of(messages):
                target.add(line)
            read += len(messages)
            if read - told >= REPORT_EVERY:
                told = read
                yield Report(read)
        for line in lines.rest():
            target.add(line)
        target.close()
        yield Report(read, lines.invalid, lines.open_runs, lines.not_redacted, done=True)


def _lines(work: Work) -> Lines:
    if work.origin == "events":
        return LinesOfEvents(work.settings)
    return LinesOfPairs(work) if work.origin == "pairs" else LinesOfScoredRows(work.kind)


def main() -> None:
    set_up_logs()  # to standard error: standard output is for reports
    # What is read and made forms no cycles.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    work = msgspec.json.decode(sys.stdin.buffer.read(), type=Work)
    try:
        for progress in write_lines(work):
            report(progress)
    except (PairstreamError, OSError) as error:
        report(Report(error=str(error)))


if __name__ == "__main__":
    main()
