"""Where runs that are to be forgotten stand, and until when; the keys of `forget --json`."""

from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
from confluent_kafka import Message
from msgspec import Struct

from pairstream.cluster import Cluster
from pairstream.letters import named_run
from pairstream.models import learnt_from
from pairstream.reader import TopicReader
from pairstream.run_records import PROGRESS_EVERY, Progress
from pairstream.terminal import moment
from schemas.json_errors import JSON_ERRORS
from schemas.settings import KafkaSettings
from schemas.topics import (
    CONSUMED,
    FOR_EVER,
    GARBLE_REQUESTS,
    PAIRS,
    RUN_EVENTS,
    RUN_OUTCOMES,
    SCORED_ROWS,
    Names,
)
from streams.state import MARKER, split_key
from trainer.datasets import dataset_lines
from trainer.forgotten import REWRITTEN, RunOf, pairs_of, run_of
from trainer.layout import DataDir
from trainer.segments import list_segments

# By run, whether a record is one of it.
Finder = Callable[[Message], str | None]


class TopicTraces(Struct, frozen=True, kw_only=True):
    """Records of one topic.

    `kept`: for ever, by age, or as the brokers do not tell us. Kafka may take them all from
    `gone_after` on, a whole file of its log at a time; to take them at once, everything before
    `ends` must go, by partition.
    """

    topic: str
    records: int
    newest: datetime
    kept: Literal["for_ever", "by_age", "unknown"]
    gone_after: datetime | None
    ends: dict[int, int]


class StateTraces(Struct, frozen=True):
    """Of the workers' state: events of open runs, and marks of settled ones, which hold no text."""

    open_events: int
    settled_marks: int


class SegmentTraces(Struct, frozen=True):
    segment: str
    pairs: int


class DatasetTraces(Struct, frozen=True):
    dataset: str
    pairs: dict[str, int]


class Traces(Struct, frozen=True, kw_only=True):
    """Everything that was found of some runs; `models` learnt from the datasets."""

    runs: list[str]
    topics: list[TopicTraces]
    state: StateTraces
    segments: list[SegmentTraces]
    datasets: list[DatasetTraces]
    models: list[str]

    @property
    def is_empty(self) -> bool:
        state = self.state.open_events + self.state.settled_marks
        return not (self.topics or state or self.segments or self.datasets)


class Search:
    """Reads every topic and the data directory; writes nothing."""

    def __init__(self, settings: KafkaSettings, data: DataDir, progress: Progress) -> None:
        """Raises: PairstreamError when a topic is missing."""
        self._settings = settings
        self._data = data
        self._progress = progress
        self._names = Names(settings.topic_prefix)
        self._cluster = Cluster(settings)
        rows = (RUN_EVENTS, RUN_OUTCOMES, SCORED_ROWS, GARBLE_REQUESTS, PAIRS)
        self._rows = [self._names.topic(topic) for topic in rows]
        self._letters = [self._names.dead_letters(topic) for topic in CONSUMED]
        changelog = self._names.state_changelog
        self._partitions = self._cluster.require(*self._rows, *self._letters, changelog)

    def runs_of(self, agent_id: str) -> list[str]:
        """Runs that an agent has reported, as far as something of them is still there."""
        found = set()
        for topic in self._rows:
            for message in self._read(topic):
                told = _told(message.value())
                if told is not None and told.agent_id == agent_id:
                    found.add(told.run_id)
        for line in self._lines():
            pair = run_of(line)
            if pair.agent_id == agent_id:
                found.add(pair.run_id)
        return sorted(found)

    def traces(self, runs: list[str]) -> Traces:
        keys = {run_id.encode(): run_id for run_id in runs}
        wanted = frozenset(runs)

        def by_key(message: Message) -> str | None:
            return keys.get(message.key() or b"")

        def of_letter(message: Message) -> str | None:
            named = named_run(message.value())
            return by_key(message) or (named if named in wanted else None)

        finders: list[tuple[str, Finder]] = [
            *((topic, by_key) for topic in self._rows),
            *((topic, of_letter) for topic in self._letters),
        ]
        kept = self._cluster.configs([topic for topic, _ in finders])
        topics = [self._topic(topic, finder, kept.get(topic, {})) for topic, finder in finders]
        datasets = self._datasets(dict.fromkeys(runs, datetime.now(UTC)))
        names = {dataset.dataset for dataset in datasets}
        learnt = learnt_from(self._data)
        return Traces(
            runs=runs,
            topics=[traces for traces in topics if traces is not None],
            state=self._state(wanted),
            segments=list(self._segments(wanted)),
            datasets=datasets,
            models=[model for model, sources in learnt.items() if not sources.isdisjoint(names)],
        )

    def _topic(self, topic: str, finder: Finder, config: Mapping[str, str]) -> TopicTraces | None:
        newest_ms = records = 0
        ends: dict[int, int] = {}
        for message in self._read(topic):
            if finder(message) is None:
                continue
            records += 1
            newest_ms = max(newest_ms, message.timestamp()[1])
            ends[int(message.partition() or 0)] = int(message.offset() or 0) + 1
        if not records:
            return None
        newest = moment(newest_ms)
        told = config.get("retention.ms")
        gone_after = None if told is None else _gone_after(newest, int(told))
        return TopicTraces(
            topic=topic,
            records=records,
            newest=newest,
            kept="unknown" if told is None else "by_age" if gone_after else "for_ever",
            gone_after=gone_after,
            ends=dict(sorted(ends.items())),
        )

    def _state(self, wanted: Container[str]) -> StateTraces:
        live: dict[bytes, bool] = {}
        for message in self._read(self._names.state_changelog):
            key = message.key() or b""
            if split_key(key)[0] in wanted:
                live[key] = message.value() is not None
        kinds = Counter(split_key(key)[1] == MARKER for key, is_live in live.items() if is_live)
        return StateTraces(kinds[False], kinds[True])

    def _segments(self, wanted: Container[str]) -> Iterator[SegmentTraces]:
        for segment in list_segments(self._data.segments):
            path = self._data.segments / segment.path
            with path.open("rb") as lines:
                pairs = sum(run_of(line).run_id in wanted for line in lines)
            if pairs:
                yield SegmentTraces(str(path), pairs)

    def _datasets(self, runs: Mapping[str, datetime]) -> list[DatasetTraces]:
        found = []
        for name in self._data.dataset_names():
            pairs = pairs_of(self._data.datasets / name, runs)
            if pairs:
                found.append(DatasetTraces(name, dict(sorted(pairs.items()))))
        return found

    def _lines(self) -> Iterator[bytes]:
        """Of all segments and datasets."""
        for segment in list_segments(self._data.segments):
            with (self._data.segments / segment.path).open("rb") as lines:
                yield from lines
        for name in self._data.dataset_names():
            yield from dataset_lines(self._data.datasets / name)

    def _read(self, topic: str) -> Iterator[Message]:
        reader = TopicReader(self._settings, topic, self._partitions[topic])
        for count, message in enumerate(reader.read(), 1):
            yield message
            if count % PROGRESS_EVERY == 0:
                self._progress(topic, count)


def _gone_after(newest: datetime, kept_ms: int) -> datetime | None:
    """None: never, as after the year 9999, for which people write retention.ms=2^63-1."""
    if kept_ms == FOR_EVER:
        return None
    try:
        return newest + timedelta(milliseconds=kept_ms)
    except OverflowError:
        return None


def _told(value: bytes | None) -> RunOf | None:
    try:
        return run_of(value or b"")
    except JSON_ERRORS:
        return None


def path_of_rewritten(data: DataDir, dataset: str) -> Path:
    """The first that is not there yet."""
    number = 1
    while (path := data.root / REWRITTEN / f"{dataset}-r{number}").exists():
        number += 1
    return path


def as_builtins(traces: Traces, **more: Any) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(traces, str_keys=True)
    return {**fields, **more}
