"""What the cluster holds: topics, lags, open runs, outcomes, pairs, trainings.

Cheap whatever the topics' size: counts come from offsets; what only records tell is read from the
newest ones, and every such figure says of how many.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from pairstream.cluster import Cluster, Ranges, lag
from pairstream.data_facts import DataFacts
from pairstream.reader import TopicReader
from schemas.json_errors import JSON_ERRORS
from schemas.rows import TrainingStep
from schemas.settings import KafkaSettings
from schemas.topics import (
    GARBLE_REQUESTS,
    PAIRS,
    RUN_EVENTS,
    RUN_OUTCOMES,
    TOPICS,
    TRAININGS,
    Names,
)
from streams.state import SOURCE_KEY, marker_key, split_key

UNREADABLE = "unreadable"


class TopicFacts(Struct, frozen=True):
    """`partitions` is null where the topic is missing; `records` counts offsets that are kept."""

    name: str
    partitions: int | None
    records: int


class WorkerFacts(Struct, frozen=True):
    """The worker's group: its processes, and records that it has not committed, by topic.

    `members` is null where the broker does not say.
    """

    group: str
    members: int | None
    lag: dict[str, int]


class TrainerFacts(Struct, frozen=True):
    """How many pairs the trainer has not taken in, and what says so.

    `segments`: the data directory, the true position. `group`: what a trainer elsewhere last
    showed. Null where neither is known. `note` says why the data directory was not asked.
    """

    position_from: Literal["segments", "group"] | None
    lag: int | None
    note: str | None


class Sample(Struct, frozen=True):
    """Counts from the newest `read` of a topic's `records`: a lower bound where it is not all."""

    counts: dict[str, int]
    read: int
    records: int

    @property
    def is_complete(self) -> bool:
        return self.read >= self.records


class ClusterFacts(Struct, frozen=True, kw_only=True):
    """What the brokers tell.

    `open_runs` has one count, `runs`; `outcomes` counts runs as `paired` or by the reason for
    which they were discarded; `pairs` counts by rule. Each run and each pair counts once.
    """

    topics: list[TopicFacts]
    worker: WorkerFacts
    trainer: TrainerFacts
    open_runs: Sample
    outcomes: Sample
    pairs: Sample


def read_cluster_facts(
    settings: KafkaSettings, cluster: Cluster, data: DataFacts, *, newest: int
) -> ClusterFacts:
    """Ask the brokers, and read the newest records of three topics, `newest` of each.

    Raises: PairstreamError when they do not answer.
    """
    names = Names(settings.topic_prefix)
    wanted = [*(names.topic(topic) for topic in TOPICS), names.state_changelog]
    counts = cluster.partitions()
    there = {name: counts[name] for name in wanted if counts.get(name)}
    ranges = cluster.ranges(there)
    newest_records = _Newest(settings, there, newest)
    return ClusterFacts(
        topics=[
            TopicFacts(name, there.get(name), lag(ranges.get(name, {}), {})) for name in wanted
        ],
        worker=_worker(cluster, names, ranges),
        trainer=_trainer(cluster, names, ranges, data),
        open_runs=newest_records.open_runs(names.state_changelog),
        outcomes=newest_records.outcomes(names.topic(RUN_OUTCOMES)),
        pairs=newest_records.pairs(names.topic(PAIRS)),
    )


def read_last_steps(
    settings: KafkaSettings, cluster: Cluster, *, newest: int
) -> list[TrainingStep]:
    """The last step of each training, from the newest records of their topic."""
    topic = Names(settings.topic_prefix).topic(TRAININGS)
    reader = TopicReader(settings, topic, cluster.partitions().get(topic, 0))
    reader.newest(newest)
    steps = [step for step in _decoded(reader, TrainingStep) if step is not None]
    return list({step.training_id: step for step in steps}.values())


def _worker(cluster: Cluster, names: Names, ranges: Mapping[str, Ranges]) -> WorkerFacts:
    committed = cluster.committed(names.worker_app)
    topics = [name for name in map(names.topic, (RUN_EVENTS, GARBLE_REQUESTS)) if name in ranges]
    lags = {name: lag(ranges[name], _positions(committed, name)) for name in topics}
    return WorkerFacts(names.worker_app, cluster.members(names.worker_app), lags)


def _trainer(
    cluster: Cluster, names: Names, ranges: Mapping[str, Ranges], data: DataFacts
) -> TrainerFacts:
    topic = names.topic(PAIRS)
    if topic not in ranges:
        return TrainerFacts(None, None, None)
    note = None
    if data.source is not None:
        if [data.source] == cluster.describe(topic):
            return TrainerFacts("segments", lag(ranges[topic], data.positions), None)
        note = f"the data directory was filled from another topic ({data.source.topic})"
    shown = _positions(cluster.committed(names.trainer_group), topic)
    if shown:
        return TrainerFacts("group", lag(ranges[topic], shown), note)
    return TrainerFacts(None, None, note)


def _positions(committed: Mapping[tuple[str, int], int], topic: str) -> dict[int, int]:
    return {p: offset for (name, p), offset in committed.items() if name == topic}


class _OutcomeKind(Struct):
    run_id: str
    reason: str | None


class _PairKind(Struct):
    pair_id: str
    rule: str


T = TypeVar("T")


class _Newest:
    """Reads the newest records of topics; a missing topic has none."""

    def __init__(self, settings: KafkaSettings, there: Mapping[str, int], newest: int) -> None:
        self._settings = settings
        self._there = there
        self._newest = newest

    def open_runs(self, changelog: str) -> Sample:
        """Runs of which the state holds an event and no mark that they are settled."""
        reader, records = self._reader(changelog)
        state: set[bytes] = set()
        for message in reader.read():
            key = message.key()
            assert key is not None, "the worker writes no state without a key"
            (state.discard if message.value() is None else state.add)(key)
        state.discard(SOURCE_KEY)
        runs = {split_key(key)[0] for key in state}
        is_open = sum(marker_key(run_id) not in state for run_id in runs)
        return Sample({"runs": is_open}, reader.total, records)

    def outcomes(self, topic: str) -> Sample:
        return self._counted(topic, _OutcomeKind, lambda row: (row.run_id, row.reason or "paired"))

    def pairs(self, topic: str) -> Sample:
        return self._counted(topic, _PairKind, lambda row: (row.pair_id, row.rule))

    def _counted(
        self, topic: str, type_: type[T], identify: Callable[[T], tuple[str, str]]
    ) -> Sample:
        """Rows by kind, each once by its id: the topics are at-least-once."""
        reader, records = self._reader(topic)
        kinds: dict[str, str] = {}
        unreadable = 0
        for row in _decoded(reader, type_):
            if row is None:
                unreadable += 1
            else:
                row_id, kind = identify(row)
                kinds[row_id] = kind
        counts = dict(Counter(kinds.values()).most_common())
        if unreadable:
            counts[UNREADABLE] = unreadable
        return Sample(counts, reader.total, records)

    def _reader(self, topic: str) -> tuple[TopicReader, int]:
        reader = TopicReader(self._settings, topic, self._there.get(topic, 0))
        records = reader.total
        reader.newest(self._newest)
        return reader, records


def _decoded(reader: TopicReader, type_: type[T]) -> Iterator[T | None]:
    """None for what cannot be decoded."""
    decoder = msgspec.json.Decoder(type_)
    for message in reader.read():
        try:
            yield decoder.decode(message.value() or b"")
        except JSON_ERRORS:
            yield None
