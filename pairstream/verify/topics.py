"""Walks through all topics, one partition after another, so that memory holds one at a time."""

from collections.abc import Iterator

from confluent_kafka import Message

from pairstream.run_records import PROGRESS_EVERY, Progress
from pairstream.verify.files import DataFiles
from pairstream.verify.flow import Flow
from pairstream.verify.ledger import LedgerComparison
from pairstream.verify.letters import LetterComparison
from pairstream.verify.log import PartitionLog
from pairstream.verify.pairs import PairJourney
from pairstream.verify.report import Checks
from pairstream.verify.snapshot import LogReader, Scope, Snapshot
from pairstream.verify.state import compare_state, read_state
from schemas.settings import PairingSettings
from schemas.topics import (
    CONSUMED,
    DEAD_LETTER_SUFFIX,
    GARBLE_REQUESTS,
    PAIRS,
    RUN_EVENTS,
    RUN_OUTCOMES,
    SCORED_ROWS,
    Names,
    Topic,
)


class TopicWalk:
    """Reads what the snapshot holds, and hands it to the comparisons."""

    def __init__(
        self,
        checks: Checks,
        snapshot: Snapshot,
        scope: Scope,
        reader: LogReader,
        names: Names,
        progress: Progress,
    ) -> None:
        self._checks = checks
        self._snapshot = snapshot
        self._scope = scope
        self._reader = reader
        self._names = names
        self._progress = progress
        self._state_topic = names.state_changelog.removeprefix(names.prefix)

    def run(
        self,
        ledger: LedgerComparison | None,
        journey: PairJourney | None,
        files: DataFiles,
        *,
        rules: PairingSettings,
    ) -> dict[str, int]:
        """Walk; returns counts of events by what became of them."""
        letters = LetterComparison(
            self._checks.dead_letters, self._snapshot, self._names, self._scope
        )
        for topic in CONSUMED:
            for message in self._read_all(topic.name + DEAD_LETTER_SUFFIX):
                letters.see(message, topic)
        flow = Flow(self._checks, self._snapshot, self._scope, letters, rules)
        for partition in range(max(self._snapshot.partitions.values())):
            self._walk(partition, flow, ledger, journey, files)
        flow.finish()
        letters.finish(CONSUMED)
        if ledger is not None:
            ledger.finish(
                {p: low for p, (low, _) in self._snapshot.ranges[RUN_EVENTS.name].items()}
            )
        if journey is not None:
            journey.finish()
        return dict(flow.events)

    def _walk(
        self,
        partition: int,
        flow: Flow,
        ledger: LedgerComparison | None,
        journey: PairJourney | None,
        files: DataFiles,
    ) -> None:
        log = None
        if partition in self._wanted(RUN_EVENTS.name):
            log = flow.take_events(partition, self._events(partition, ledger))
        for topic, see in (
            (GARBLE_REQUESTS, flow.see_request),
            (RUN_OUTCOMES, flow.see_outcome),
            (SCORED_ROWS, flow.see_scored_row),
        ):
            for message in self._of_run(topic.name, partition):
                see(message)
        self._pairs(partition, flow, journey, files)
        if log is not None:
            self._compare_state(partition, log)
        flow.end_partition(partition, log)

    def _events(self, partition: int, ledger: LedgerComparison | None) -> Iterator[Message]:
        for message in self._of_run(RUN_EVENTS.name, partition):
            if ledger is not None:
                ledger.see(message)
            yield message

    def _pairs(
        self, partition: int, flow: Flow, journey: PairJourney | None, files: DataFiles
    ) -> None:
        if partition not in self._wanted(PAIRS.name):
            return
        position = files.position(partition) if journey is not None else 0
        for message in self._of_run(PAIRS.name, partition):
            offset = int(message.offset() or 0)
            pair = flow.see_pair(message, is_taken_in=offset < position)
            if pair is not None and journey is not None:
                journey.see(pair, offset)
        if journey is not None:
            low, _ = self._snapshot.ranges[PAIRS.name][partition]
            at = f"{self._names.topic(PAIRS)}/{partition}"
            journey.compare(partition, low=low, at=at)

    def _compare_state(self, partition: int, log: PartitionLog) -> None:
        done = self._snapshot.committed.get((RUN_EVENTS.name, partition), 0)
        state = read_state(self._read(self._state_topic, partition))
        at = f"{self._names.topic(RUN_EVENTS)}/{partition}"
        compare_state(self._checks.state, log, state, done=done, at=at)

    # --- Reading ---------------------------------------------------------------------------------

    def read_all(self, topic: Topic) -> Iterator[Message]:
        """Every record of a topic."""
        return self._read_all(topic.name)

    def _read_all(self, topic: str) -> Iterator[Message]:
        for partition in range(self._snapshot.partitions[topic]):
            yield from self._read(topic, partition)

    def _wanted(self, topic: str) -> list[int]:
        """The partitions on which what was asked for may stand."""
        return self._scope.partitions(self._snapshot.partitions[topic])

    def _of_run(self, topic: str, partition: int) -> Iterator[Message]:
        if partition in self._wanted(topic):
            for message in self._read(topic, partition):
                if self._scope.wants_key(message.key()):
                    yield message

    def _read(self, topic: str, partition: int) -> Iterator[Message]:
        first, end = self._snapshot.ranges[topic][partition]
        name = self._names.prefix + topic
        for count, message in enumerate(self._reader.read(name, partition, first, end), 1):
            yield message
            if count % PROGRESS_EVERY == 0:
                self._progress(f"{name}/{partition}", count)
