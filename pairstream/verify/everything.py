"""Whether everything that must be there is there, once: recomputed from topics and files.

Reads only: no group, no file is touched, and a live cluster may go on.
"""

from collections.abc import Mapping

from pairstream.cluster import Cluster, lag
from pairstream.run_records import Progress
from pairstream.verify.files import DataFiles, read_files
from pairstream.verify.ledger import LedgerComparison, Send
from pairstream.verify.models import check_models
from pairstream.verify.pairs import PairJourney
from pairstream.verify.positions import (
    check_chain,
    check_coverage,
    check_groups,
    check_losses,
)
from pairstream.verify.report import Checks, Report
from pairstream.verify.snapshot import LogReader, Scope, Snapshot, take_snapshot
from pairstream.verify.topics import TopicWalk
from pairstream.verify.trainings import check_trainings
from schemas.settings import PairingSettings
from schemas.topics import GARBLE_REQUESTS, PAIRS, RUN_EVENTS, TRAININGS, Names
from trainer.layout import DataDir


def verify(
    settings: PairingSettings,
    data: DataDir,
    scope: Scope,
    sends: list[Send] | None,
    progress: Progress,
) -> Report:
    """`sends`: the ledger of those who sent events. Raises: PairstreamError when it cannot tell."""
    checks, names, cluster = Checks(), Names(settings.topic_prefix), Cluster(settings)
    cluster.partitions()
    # The order matters on a live cluster: what is read later has gone on further.
    shown = _shown(cluster, names)
    files = read_files(data, checks, scope)
    check_chain(checks.positions, files.datasets)
    check_coverage(checks.coverage, files)
    check_losses(checks.coverage, files)
    is_ours = _is_of_this_topic(cluster, names, files)
    _explain_limits(checks, scope, data, is_ours=is_ours)
    reader = LogReader(settings)
    snapshot = take_snapshot(settings, cluster, reader, scope)
    ledger = _ledger(checks, sends, names, scope)
    journey = PairJourney(checks, files, scope) if is_ours else None
    walk = TopicWalk(checks, snapshot, scope, reader, names, progress)
    events = walk.run(ledger, journey, files, rules=settings)
    check_trainings(checks.trainings, walk.read_all(TRAININGS), data, files)
    if scope.run_id is None:
        check_models(checks.files, data.models)
    check_groups(checks, snapshot, files, shown if is_ours else None)
    _tell_progress(checks, snapshot, files if is_ours else None, events)
    facts = [check.facts for check in checks.all]
    return Report(holds=all(fact.state != "broken" for fact in facts), events=events, checks=facts)


def _shown(cluster: Cluster, names: Names) -> dict[int, int]:
    """Where the trainer's group says that the trainer is."""
    topic = names.topic(PAIRS)
    committed = cluster.committed(names.trainer_group)
    return {partition: offset for (name, partition), offset in committed.items() if name == topic}


def _is_of_this_topic(cluster: Cluster, names: Names, files: DataFiles) -> bool:
    [described] = cluster.describe(names.topic(PAIRS))
    return files.source is not None and files.source.source == described


def _explain_limits(checks: Checks, scope: Scope, data: DataDir, *, is_ours: bool) -> None:
    if not is_ours:
        reason = f"{data.root} was not filled from this topic"
        if not data.source.exists():
            reason = f"no trainer has worked in {data.root}"
        for check in (checks.once, checks.coverage, checks.rebuild):
            check.cannot(reason)
    if scope.run_id is not None:
        checks.files.note("of segments, only those of the run's partition; of models, none")


def _ledger(
    checks: Checks, sends: list[Send] | None, names: Names, scope: Scope
) -> LedgerComparison | None:
    if sends is None:
        checks.acknowledged.cannot("only the senders know: give their --ledger")
        return None
    return LedgerComparison(checks.acknowledged, sends, names.topic(RUN_EVENTS), scope)


def _tell_progress(
    checks: Checks, snapshot: Snapshot, files: DataFiles | None, events: Mapping[str, int]
) -> None:
    def waiting(topic: str) -> int:
        committed = {p: o for (name, p), o in snapshot.committed.items() if name == topic}
        return lag(snapshot.ranges[topic], committed)

    told = (
        f"not worked on yet: {waiting(RUN_EVENTS.name)} events, "
        f"{waiting(GARBLE_REQUESTS.name)} garble requests; open runs: {events['open_runs']}"
    )
    if files is not None:
        ranges = snapshot.ranges[PAIRS.name]
        positions = {partition: files.position(partition) for partition in ranges}
        told += f"; not taken in yet: {lag(ranges, positions)} pairs"
    checks.progress.tell(told)
