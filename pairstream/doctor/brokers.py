"""The cluster: whether it answers, its topics, and how far its clock is from ours."""

import time
from collections.abc import Iterator

from pairstream.cluster import Cluster, TopicState, compare_topics
from pairstream.doctor.findings import Finding, from_error, note, ok, wrong
from pairstream.reader import TopicReader
from pairstream.terminal import counted
from schemas.errors import PairstreamError
from schemas.settings import KafkaSettings, TopicSettings
from schemas.topics import RUN_EVENTS, Names

ANSWER_SECONDS = 3.0

# What an hour's difference of clocks would do to lags and latencies, some seconds do not.
SKEW_SECONDS = 5.0

NEWEST = 100


def check_brokers(settings: TopicSettings) -> Iterator[Finding]:
    """Nothing is written, and no group is joined."""
    cluster = Cluster(settings)
    begun = time.monotonic()
    try:
        cluster.partitions(wait_seconds=ANSWER_SECONDS)
        brokers = cluster.brokers()
    except PairstreamError as error:
        yield from_error("brokers", error)
        return
    milliseconds = (time.monotonic() - begun) * 1000
    security = f"{settings.security_protocol}, answered within {milliseconds:.0f} ms"
    yield ok("brokers", f"{', '.join(brokers)}; {security}")
    yield copies_finding(len(brokers), settings.replication_factor)
    try:
        states = list(compare_topics(cluster, settings))
        yield from topic_findings(states)
        if not any(state.missing for state in states):
            yield clock_finding(_newest_ms(settings, cluster), time.time() * 1000)
    except PairstreamError as error:
        yield from_error("topics", error)


def copies_finding(brokers: int, copies: int) -> Finding:
    """Pure."""
    if copies > brokers:
        return wrong(
            "copies",
            f"{copies} copies of each partition are wanted of {counted(brokers, 'broker')}",
            "set PAIRSTREAM_REPLICATION_FACTOR to at most as many, or start more brokers",
        )
    if copies == 1 < brokers:
        return note(
            "copies",
            f"one copy of each partition on {brokers} brokers: one lost disk loses data",
            "create topics with PAIRSTREAM_REPLICATION_FACTOR=3 and min.insync.replicas=2",
        )
    return ok("copies", f"{copies} of each partition, {counted(brokers, 'broker')}")


def topic_findings(states: list[TopicState]) -> Iterator[Finding]:
    """Pure."""
    missing = [state.name for state in states if state.missing]
    if missing:
        yield wrong("topics", f"missing: {', '.join(missing)}", "run `pairstream topics apply`")
    for state in states:
        if state.differs:
            yield wrong(
                "topics",
                f"{state.name}: {'; '.join(state.differs)}",
                "settings: kafka-configs.sh; partitions: set PAIRSTREAM_PARTITIONS to what is "
                "there, or see docs/runbook.md, More partitions",
            )
    if not missing and not any(state.differs for state in states):
        yield ok("topics", f"all {len(states)} as wanted")


def clock_finding(newest_ms: int | None, now_ms: float) -> Finding:
    """Brokers stamp events; one that lies ahead of us shows how far theirs is ahead. Pure."""
    if newest_ms is None:
        return ok("clock", "no event is there yet, whose time would tell the brokers' clock")
    ahead = (newest_ms - now_ms) / 1000
    if ahead > SKEW_SECONDS:
        return wrong(
            "clock",
            f"the brokers' clock is {ahead:.0f} s ahead of this machine's, or more",
            "let NTP set both: run timeouts after a takeover, --since and latencies go by them",
        )
    return ok("clock", f"the newest event is {-ahead:.0f} s old: the brokers' clock is not ahead")


def _newest_ms(settings: KafkaSettings, cluster: Cluster) -> int | None:
    names = Names(settings.topic_prefix)
    topic = names.topic(RUN_EVENTS)
    reader = TopicReader(settings, topic, cluster.partitions().get(topic, 0))
    reader.newest(NEWEST)
    return max((message.timestamp()[1] for message in reader.read()), default=None)
