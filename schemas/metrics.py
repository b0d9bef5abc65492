"""What worker and trainer measure alike, under Prometheus' rules: base units, bounded labels.

No label ever holds an id of a run, an agent, a task or a training: there is no end of these.
"""

from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

# Seconds since the loop that does the work last turned; more and the process counts as hung.
HUNG_SECONDS = 300.0


class Vitals(Protocol):
    """What a process tells of itself; asked from another thread than the one that works.

    The two methods say in one line what is wrong, or None. A process that is not live is to be
    started again; one that is not ready may only need time.
    """

    registry: CollectorRegistry

    def not_live(self) -> str | None: ...

    def not_ready(self) -> str | None: ...


class Lag(NamedTuple):
    """Records of one partition that a group has not dealt with."""

    topic: str
    partition: int
    group: str
    records: int


class _LagCollector(Collector):
    """Asks when it is asked."""

    def __init__(self, read: Callable[[], Iterable[Lag]]) -> None:
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "pairstream_consumer_lag_records",
            "Records that are not dealt with, of the partitions that this process reads.",
            labels=["topic", "partition", "group"],
        )
        for topic, partition, group, records in self._read():
            family.add_metric([topic, str(partition), group], records)
        yield family


def new_registry(service: str, lag: Callable[[], Iterable[Lag]]) -> CollectorRegistry:
    """With what every process of ours tells: which version it is, and its lag."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    build = Gauge(
        "pairstream_build_info", "1; the labels say what runs.", ["service", "version"],
        registry=registry,
    )  # fmt: skip
    build.labels(service, version("pairstream")).set(1)
    registry.register(_LagCollector(lag))
    return registry


def rejected_counter(registry: CollectorRegistry, reasons: Iterable[tuple[str, str]]) -> Counter:
    """Dead letters written; each topic and reason stands at 0 first, so that a first one shows."""
    counter = Counter(
        "pairstream_events_rejected",
        "Records that became dead letters, by the topic that they came from.",
        ["topic", "reason"],
        registry=registry,
    )
    for topic, reason in reasons:
        counter.labels(topic, reason)
    return counter
