"""How fast records come, and how far behind their readers are, partition by partition."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from pairstream.cluster import Cluster, Ranges
from schemas.topics import GARBLE_REQUESTS, PAIRS, RUN_EVENTS, RUN_OUTCOMES, Names, Topic

# What the page draws, and what it calls them.
RATES: tuple[tuple[str, Topic], ...] = (
    ("events", RUN_EVENTS),
    ("runs settled", RUN_OUTCOMES),
    ("pairs", PAIRS),
)


class Flow(NamedTuple):
    """One look: each topic's ends, and where its reader is; `at` is in seconds of any clock."""

    at: float
    ranges: Mapping[str, Ranges]
    positions: Mapping[str, Mapping[int, int]]


class Lag(NamedTuple):
    """One partition: how many records are kept, and how many its reader has not done with.

    `behind` is null where the reader's position is not known.
    """

    topic: str
    reader: str
    partition: int
    kept: int
    behind: int | None


def read_flow(
    cluster: Cluster, names: Names, taken_in: Mapping[int, int] | None, *, at: float
) -> Flow:
    """Ask the brokers. Raises: PairstreamError.

    Args:
        taken_in: the trainer's positions by its segments; None where they are of another topic.
    """
    wanted = list(map(names.topic, (RUN_EVENTS, GARBLE_REQUESTS, PAIRS, RUN_OUTCOMES)))
    counts = cluster.partitions()
    ranges = cluster.ranges({name: counts[name] for name in wanted if counts.get(name)})
    committed = dict(cluster.committed(names.worker_app))
    positions: dict[str, dict[int, int]] = {}
    for (topic, partition), offset in committed.items():
        positions.setdefault(topic, {})[partition] = offset
    pairs = names.topic(PAIRS)
    if taken_in is not None:
        positions[pairs] = dict(taken_in)
    else:
        shown = cluster.committed(names.trainer_group)
        positions[pairs] = {p: offset for (topic, p), offset in shown.items() if topic == pairs}
    return Flow(at, ranges, positions)


def lags(flow: Flow, names: Names) -> list[Lag]:
    """Every partition that somebody has to work off. Pure."""
    readers = ((RUN_EVENTS, "worker"), (GARBLE_REQUESTS, "worker"), (PAIRS, "trainer"))
    return [
        Lag(topic, reader, partition, end - first, _behind(flow, topic, partition, (first, end)))
        for topic, reader in ((names.topic(each), reader) for each, reader in readers)
        for partition, (first, end) in sorted(flow.ranges.get(topic, {}).items())
    ]


def _behind(flow: Flow, topic: str, partition: int, range_: tuple[int, int]) -> int | None:
    first, end = range_
    position = flow.positions.get(topic, {}).get(partition)
    if position is None:
        return None if end > first else 0
    return max(0, end - max(first, position))


def rates(flows: Sequence[Flow], names: Names) -> dict[str, list[tuple[float, float]]]:
    """Records a second by what they are, each with its moment before the last look. Pure."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in RATES}
    for earlier, later in pairwise(flows):
        seconds = later.at - earlier.at
        for name, topic in RATES:
            came = _ends(later, names.topic(topic)) - _ends(earlier, names.topic(topic))
            rate = max(0, came) / seconds if seconds > 0 else 0.0
            found[name].append((round(later.at - flows[-1].at, 1), rate))
    return found


def _ends(flow: Flow, topic: str) -> int:
    return sum(end for _, end in flow.ranges.get(topic, {}).values())
