"""Makes the workers' state anew from the events, where its changelog was lost.

What is committed stays committed: the events before it are folded again, and no row is written.
Where the events' topic was made anew since, its old offsets mean nothing and all of it is yet to be
read; what the state has of runs is kept then, since nothing else has it.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import cast

from confluent_kafka import TopicPartition

from pairstream.cluster import Cluster, describe_worker_source
from pairstream.ends import bounded_consumer
from pairstream.reader import TopicReader
from pairstream.sending import Sender
from schemas import clients
from schemas.crash_points import crash_point
from schemas.errors import PairstreamError
from schemas.retries import retried
from schemas.settings import WorkerSettings
from schemas.topics import RUN_EVENTS, Names
from streams.changelog import StateReader
from streams.partition import Partition
from streams.state import MARKER, SOURCE_KEY, event_key, remade, split_key

PROGRESS_EVERY = 100_000
LOOK_SECONDS = 0.5
SPARE_SECONDS = 5.0

Progress = Callable[[int, int], None]
State = dict[bytes, bytes]


def rebuild_state(settings: WorkerSettings, *, partitions: int, progress: Progress) -> str:
    """Replace all of the state; ended half-way, the workers refuse it until it is done again.

    Args:
        partitions: of the events topic.

    Returns: a line for the user. Raises: PairstreamError, also when a worker is running.
    """
    cluster, names = Cluster(settings), Names(settings.topic_prefix)
    _await_no_worker(cluster, names, settings.session_timeout_seconds + SPARE_SECONDS)
    source = describe_worker_source(cluster, names)
    reader = StateReader(clients.reader(settings, group=names.worker_app), names.state_changelog)
    with closing(reader):
        old = reader.state(set(range(partitions)))
    written = {state[SOURCE_KEY][0] for state in old.values() if SOURCE_KEY in state}
    anew = {topic for before in written for topic in remade(source, before)}
    for topic in anew:
        _rewind(settings, cluster, names, topic)
    events = names.topic(RUN_EVENTS)
    if events in anew:
        new = {partition: _kept(state) for partition, state in old.items()}
        whence = f"the old state, since {events} was made anew"
    else:
        committed = cluster.committed(names.worker_app)
        ends = {p: committed.get((events, p), 0) for p in range(partitions)}
        new = _fold(settings, events, ends, progress)
        whence = f"{sum(ends.values())} offsets of {events}"
    _write(settings, names, old, new, source)
    runs = {split_key(key)[0] for state in new.values() for key in state}
    settled = {split_key(key)[0] for s in new.values() for key in s if split_key(key)[1] == MARKER}
    return f"state made anew from {whence}: {len(runs - settled)} open runs, {len(settled)} settled"


def _await_no_worker(cluster: Cluster, names: Names, seconds: float) -> None:
    """A worker that was killed is a member until its session times out."""
    deadline = time.monotonic() + seconds
    while cluster.members(names.worker_app):
        if time.monotonic() > deadline:
            raise PairstreamError(f"{names.worker_app} has members: stop all workers first")
        time.sleep(LOOK_SECONDS)


def _rewind(settings: WorkerSettings, cluster: Cluster, names: Names, topic: str) -> None:
    """Commit the first offsets that are there."""
    ranges = cluster.ranges(cluster.require(topic))[topic]
    offsets = [TopicPartition(topic, partition, low) for partition, (low, _) in ranges.items()]
    consumer = bounded_consumer(settings, group=names.worker_app)
    try:
        retried(
            lambda: consumer.commit(offsets=offsets, asynchronous=False),
            failure=f"the brokers do not take the offsets of {topic}",
        )
    finally:
        consumer.close()


def _kept(old: Mapping[bytes, tuple[bytes, int]]) -> State:
    """Markers, and events in their order under offsets that no record has."""
    kept: State = {}
    events: dict[str, list[tuple[int, bytes]]] = {}
    for key, (value, _) in old.items():
        run_id, suffix = split_key(key)
        if suffix == MARKER:
            kept[key] = value
        elif key != SOURCE_KEY:
            events.setdefault(run_id, []).append((int(suffix), value))
    for run_id, of_run in events.items():
        for before_zero, (_, value) in enumerate(sorted(of_run, reverse=True), 1):
            kept[event_key(run_id, -before_zero)] = value
    return kept


def _fold(
    settings: WorkerSettings, topic: str, ends: Mapping[int, int], progress: Progress
) -> dict[int, State]:
    """Each partition's state, from the events before its end."""
    reader = TopicReader(settings, topic, len(ends))
    lows = {partition: low for partition, (low, _) in reader.ranges.items()}
    reader.restrict({p: (lows[p], max(lows[p], end)) for p, end in ends.items()})
    states: dict[int, State] = {partition: {} for partition in ends}
    runs = {partition: Partition.by(settings) for partition in ends}
    for count, message in enumerate(reader.read(), 1):
        partition, offset = cast("int", message.partition()), cast("int", message.offset())
        record = (message.key(), message.value(), offset)
        effects = runs[partition].apply([record], now_ms=message.timestamp()[1])
        for key, value in effects.writes.items():
            states[partition].pop(key, None)
            if value is not None:
                states[partition][key] = value
        if count % PROGRESS_EVERY == 0:
            progress(count, reader.total)
    return states


def _write(
    settings: WorkerSettings,
    names: Names,
    old: Mapping[int, Mapping[bytes, object]],
    new: Mapping[int, State],
    source: bytes,
) -> None:
    """The name of its source goes first and comes last, so that no half of it is ever taken."""
    sender = Sender(settings)

    def send(partition: int, key: bytes, value: bytes | None) -> None:
        sender.send(names.state_changelog, key, value, partition=partition)

    for partition, state in new.items():
        send(partition, SOURCE_KEY, None)
        for key in old[partition].keys() - state.keys():
            send(partition, key, None)
        for key, value in state.items():
            send(partition, key, value)
    remedy = "run it again"
    sender.finish("records of the state", remedy=remedy)
    crash_point("rebuild.state_written")
    for partition in new:
        send(partition, SOURCE_KEY, source)
    sender.finish("records of the state", remedy=remedy)
