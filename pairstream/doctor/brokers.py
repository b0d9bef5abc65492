"""The cluster: whether it answers, its topics, and how far its clock is from ours."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

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

# Of a cluster that many share, as many other prefixes are named.
SHOWN_PREFIXES = 3


def check_brokers(settings: TopicSettings) -> Iterator[Finding]:
    """Nothing is written, and no group is joined."""
    yield from security_findings(settings)
    begun = time.monotonic()
    try:
        cluster = Cluster(settings)
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
        cluster.check_allowed([state.name for state in states if state.missing])
        yield from topic_findings(states, prefixes_of(cluster.partitions()))
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


def security_findings(settings: KafkaSettings) -> Iterator[Finding]:
    """Whoever names a mechanism thinks that it is used. Pure."""
    if settings.sasl_mechanism and not settings.security_protocol.startswith("SASL"):
        yield note(
            "security",
            f"PAIRSTREAM_SASL_MECHANISM is set, and not used: PAIRSTREAM_SECURITY_PROTOCOL is "
            f"{settings.security_protocol}",
            "set PAIRSTREAM_SECURITY_PROTOCOL=SASL_SSL, or unset the mechanism",
        )


def topic_findings(states: list[TopicState], prefixes: Sequence[str] = ()) -> Iterator[Finding]:
    """`prefixes` are those under which the cluster has topics of ours. Pure."""
    missing = [state.name for state in states if state.missing]
    if missing:
        lost = prefixes if len(missing) == len(states) else ()
        yield wrong("topics", f"missing: {', '.join(missing)}", _missing_remedy(lost))
    differing: dict[str, list[str]] = defaultdict(list)
    for state in states:
        if state.differs:
            differing["; ".join(state.differs)].append(state.name)
    for what, names in differing.items():
        yield wrong(
            "topics",
            f"{', '.join(names)}: {what}",
            "settings: kafka-configs.sh; partitions: set PAIRSTREAM_PARTITIONS to what is "
            "there, or see docs/runbook.md, More partitions",
        )
    if not missing and not differing:
        chosen = [f"{state.name}: {'; '.join(state.chosen)}" for state in states if state.chosen]
        but = f", with what was chosen: {', '.join(chosen)}" if chosen else ""
        yield ok("topics", f"all {len(states)} as wanted{but}")


def prefixes_of(topics: Iterable[str]) -> list[str]:
    """The topic prefixes of the deployments whose topics these are. Pure."""
    ends = (name for name in topics if name.endswith(RUN_EVENTS.name))
    return sorted(name.removesuffix(RUN_EVENTS.name) for name in ends)


def _missing_remedy(prefixes: Sequence[str]) -> str:
    remedy = "run `pairstream topics apply`"
    if not prefixes:
        return remedy
    shown = ", ".join(repr(each) if each else "none" for each in prefixes[:SHOWN_PREFIXES])
    more = ", and others" if len(prefixes) > SHOWN_PREFIXES else ""
    return (
        f"{remedy}; or mend PAIRSTREAM_TOPIC_PREFIX: the cluster has topics of ours "
        f"under the prefix {shown}{more}"
    )


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
