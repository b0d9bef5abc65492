"""A rebuild's share of the partitions, in a process of its own: lines of pairs, sorted on disk.

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

from pairstream.reader import Part, TopicReader
from pairstream.sorted_lines import SortedLines
from schemas.errors import InvalidRecord, PairstreamError
from schemas.rows import GarbleRequest, encode, parse_pair
from schemas.settings import GarblingSettings, WorkerSettings
from schemas.topics import PAIRS
from streams.garblers import open_garblers
from streams.partition import Effects, Partition

REPORT_EVERY = 50_000

MINUTE_MS = 60_000

# Requests that `corrupt` gets at once.
GARBLED_AT_ONCE = 1000

Origin = Literal["events", "pairs"]


class Work(Struct, frozen=True):
    """What one process does; `folder` takes its lines."""

    origin: Origin
    settings: GarblingSettings
    topic: str
    part: Part
    folder: str


class Report(Struct, frozen=True, omit_defaults=True):
    """How far it has come; `error` ends it, and so does `done`."""

    read: int = 0
    invalid: int = 0
    open_runs: int = 0
    done: bool = False
    error: str | None = None


class Lines:
    """From records of one topic to lines of pairs."""

    invalid = 0
    open_runs = 0

    def of(self, messages: Iterable[Message]) -> Iterator[bytes]:
        """What the next records give, in the order of each partition."""
        raise NotImplementedError

    def rest(self) -> Iterator[bytes]:
        """What is still to come after the last record."""
        yield from ()

    def close(self) -> None:
        """Let go of what it works with."""


class LinesOfPairs(Lines):
    """Every valid pair as it is."""

    def of(self, messages: Iterable[Message]) -> Iterator[bytes]:
        for message in messages:
            try:
                yield encode(parse_pair(message.value())) + b"\n"
            except InvalidRecord:
                self.invalid += 1


class LinesOfEvents(Lines):
    """Folds the runs again, and has the responses garbled, outside of any loop."""

    def __init__(self, settings: GarblingSettings) -> None:
        self._runs: dict[int, Partition] = defaultdict(lambda: Partition.by(settings))
        self._memory_ms = int(WorkerSettings().settled_run_memory_seconds * 1000)
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
        for topic, _, value in effects.rows:
            if topic is PAIRS:
                yield value + b"\n"
        for settlement in effects.settlements:
            self._waiting += settlement.garble_requests
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
    target = SortedLines(Path(work.folder))
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
        yield Report(read, lines.invalid, lines.open_runs, done=True)


def _lines(work: Work) -> Lines:
    return LinesOfPairs() if work.origin == "pairs" else LinesOfEvents(work.settings)


def main() -> None:
    # What is read and made forms no cycles.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    work = msgspec.json.decode(sys.stdin.buffer.read(), type=Work)
    try:
        for report in write_lines(work):
            _say(report)
    except PairstreamError as error:
        _say(Report(error=str(error)))


def _say(report: Report) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
