"""From events to rows, one partition after another: what its events give, and what is there."""

from collections import Counter
from collections.abc import Iterable

import orjson
from confluent_kafka import Message
from msgspec import UNSET

from pairstream.verify.expected import Json, settle
from pairstream.verify.letters import LetterComparison
from pairstream.verify.log import REFUSED, EventRecord, PartitionLog, Settled
from pairstream.verify.report import Check, Checks
from pairstream.verify.rows import Expected, RowComparison, Seen, digest_of
from pairstream.verify.snapshot import Scope, Snapshot
from schemas.errors import InvalidRecord
from schemas.placement import partition_of
from schemas.rows import Pair, encode, parse_garble_request, parse_pair
from schemas.settings import PairingSettings
from schemas.topics import GARBLE_REQUESTS, PAIRS, RUN_EVENTS, RUN_OUTCOMES, SCORED_ROWS
from streams.garbling import ResponseKind, corrupt
from streams.high_temperature import HIGH_TEMPERATURE, distance
from streams.redaction import open_redactor

# What is garbled, by the rule.
RESPONSES: dict[str, ResponseKind] = {"first_time_strategy": "strategy", "first_time_code": "code"}

CUT_OFF = "runs that began before the first event read are left out"


class Flow:
    """The rows of all partitions: `take_events` of one, then its rows, then `end_partition`."""

    def __init__(
        self,
        checks: Checks,
        snapshot: Snapshot,
        scope: Scope,
        letters: LetterComparison,
        rules: PairingSettings,
    ) -> None:
        horizons = snapshot.horizons
        self.events: Counter[str] = Counter()
        self._checks = checks
        self._snapshot = snapshot
        self._scope = scope
        self._letters = letters
        self._rules = rules
        self._redact = open_redactor(rules)
        self._ends: dict[str, int] = {}
        self._outcomes, self._scored_rows, self._requests, self._pairs = (
            RowComparison(check, noun, horizon_ms=horizons.get(topic.name))
            for check, noun, topic in (
                (checks.outcomes, "an outcome", RUN_OUTCOMES),
                (checks.scored_rows, "a scored row", SCORED_ROWS),
                (checks.requests, "a garble request", GARBLE_REQUESTS),
                (checks.pairs, "a pair", PAIRS),
            )
        )

    # --- Events ----------------------------------------------------------------------------------

    def take_events(self, partition: int, messages: Iterable[Message]) -> PartitionLog:
        """Fold a partition's events, and expect what the runs that end in it give."""
        low, _ = self._snapshot.ranges[RUN_EVENTS.name][partition]
        self._ends.clear()
        log = PartitionLog(
            is_complete=low == 0,
            on_settled=lambda run: self._expect(partition, run),
            run_max_bytes=self._rules.run_max_bytes,
        )
        for message in messages:
            offset = int(message.offset() or 0)
            record = EventRecord(message.key(), message.value(), offset, message.timestamp()[1])
            verdict, is_certain = log.take(record)
            if verdict in REFUSED or not is_certain:
                must = self._snapshot.is_committed(RUN_EVENTS, partition, offset)
                self._letters.expect(message, verdict, must=must, is_certain=is_certain)
        self.events.update(log.verdicts)
        self.events["open_runs"] += len(log.open)
        self.events["events_of_open_runs"] += sum(len(run.kept) for run in log.open.values())
        return log

    def _expect(self, partition: int, run: Settled) -> None:
        self.events["settled_runs"] += 1
        if not run.is_whole or not self._is_followed(run.run_id, partition):
            self._checks.outcomes.note(CUT_OFF)
            return
        must = self._snapshot.is_committed(RUN_EVENTS, partition, run.offset)
        self._ends[run.run_id] = run.offset
        rows = settle(
            run.run_id,
            run.events,
            settled_by=run.settled_by,
            extended=self._rules.pairing_extended,
            run_max_bytes=self._rules.run_max_bytes,
            redact=self._redact,
        )

        def expected(row: Json, *, must: bool = must) -> Expected:
            return Expected(digest_of(row), must, run.timestamp_ms)

        self._outcomes.expect(run.run_id, expected(rows["outcome"]))
        for row in rows["scored_rows"]:
            self._scored_rows.expect(row["row_id"], expected(row))
        for pair in rows["pairs"]:
            response = RESPONSES.get(pair["rule"])
            if response is not None:
                self._requests.expect(pair["pair_id"], expected({**pair, "response": response}))
            # A garbled pair comes when its request has been worked on.
            self._pairs.expect(pair["pair_id"], expected(pair, must=must and response is None))

    def _is_followed(self, run_id: str, partition: int) -> bool:
        """Rows of a run on a partition that is not its own can only be told where nothing is
        missing.
        """
        if self._snapshot.is_complete(RUN_EVENTS):
            return True
        return partition_of(run_id.encode(), self._count(RUN_EVENTS.name)) == partition

    def _count(self, topic: str) -> int:
        return self._snapshot.partitions[topic]

    # --- Rows ------------------------------------------------------------------------------------

    def see_outcome(self, message: Message) -> None:
        row = _decoded(self._checks.outcomes, message, "run_id")
        if row is not None and self._scope.wants(row["run_id"]):
            run_id = row["run_id"]
            if self._outcomes.see(run_id, Seen(digest_of(row), run_id, place_of(message))):
                self._check_order(run_id, place_of(message))

    def _check_order(self, run_id: str, at: str) -> None:
        end = self._ends.get(run_id)
        if end is None:
            return
        check, last = self._checks.order, self._ends.get("", -1)
        check.checked += 1
        if end < last:
            what = f"an outcome that comes late: the run ended at {end}, the one before at {last}"
            check.found(what, id=run_id, at=at)
        self._ends[""] = max(end, last)

    def see_scored_row(self, message: Message) -> None:
        row = _decoded(self._checks.scored_rows, message, "row_id")
        if row is not None and self._scope.wants(row["run_id"]):
            seen = Seen(digest_of(row), row["run_id"], place_of(message))
            self._scored_rows.see(row["row_id"], seen)

    def see_request(self, message: Message) -> None:
        partition, offset = int(message.partition() or 0), int(message.offset() or 0)
        is_done = self._snapshot.is_committed(GARBLE_REQUESTS, partition, offset)
        try:
            request = parse_garble_request(message.value())
        except InvalidRecord as error:
            self._letters.expect(message, error.reason, must=is_done, is_certain=True)
            return
        pair = request.pair
        if self._scope.wants(pair.run_id):
            row = {**orjson.loads(encode(pair)), "response": request.response}
            self._requests.see(pair.pair_id, Seen(digest_of(row), pair.run_id, place_of(message)))
            if is_done:
                self._pairs.require(pair.pair_id)
            else:
                self.events["requests_waiting"] += 1

    def see_pair(self, message: Message, *, is_taken_in: bool) -> Pair | None:
        """Returns the pair, if it is one that was asked for."""
        try:
            pair = parse_pair(message.value())
        except InvalidRecord as error:
            self._letters.expect(message, error.reason, must=is_taken_in, is_certain=True)
            return None
        if not self._scope.wants(pair.run_id):
            return None
        row = orjson.loads(encode(pair))
        if pair.garbler is not None:
            row |= {"rejected": [], "garbler": None}
            row.pop("garbled_distance", None)
            if not _is_well_garbled(pair):
                what = "a garbled side that its garbler does not give"
                self._checks.pairs.found(what, id=pair.pair_id, at=place_of(message))
        seen = Seen(digest_of(row), pair.run_id, place_of(message))
        self._pairs.see(pair.pair_id, seen)
        return pair

    # --- Ends ------------------------------------------------------------------------------------

    def end_partition(self, partition: int, log: PartitionLog | None) -> None:
        """Let go of what has met. Where the beginning of the log is missing, rows of runs that are
        not known from their beginning are let go of too.
        """

        def is_judged(run_id: str) -> bool:
            is_whole = log is not None and log.is_whole(run_id)
            return is_whole and self._is_followed(run_id, partition)

        are_complete = self._snapshot.is_complete(RUN_EVENTS)
        for rows in self._all():
            rows.compare(None if are_complete or not self._are_alike() else is_judged)

    def finish(self) -> None:
        """Judge what is left of all partitions."""
        is_blind = not self._snapshot.is_complete(RUN_EVENTS) and not self._are_alike()
        for rows in self._all():
            rows.finish((lambda _: False) if is_blind else None)

    def _all(self) -> tuple[RowComparison, ...]:
        return self._outcomes, self._scored_rows, self._requests, self._pairs

    def _are_alike(self) -> bool:
        """Whether a run's events and rows all stand on the partition of the same number."""
        topics = (RUN_EVENTS, RUN_OUTCOMES, SCORED_ROWS, GARBLE_REQUESTS, PAIRS)
        return len({self._count(topic.name) for topic in topics}) == 1


def place_of(message: Message) -> str:
    return f"{message.topic()}/{message.partition()}/{message.offset()}"


def _decoded(check: Check, message: Message, id_name: str) -> Json | None:
    """A row with its ids as texts; what is none breaks the invariant."""
    try:
        row: Json = orjson.loads(message.value() or b"")
        if isinstance(row[id_name], str) and isinstance(row["run_id"], str):
            return row
    except (ValueError, TypeError, KeyError):
        pass
    check.found("no row", at=place_of(message))
    return None


def _is_well_garbled(pair: Pair) -> bool:
    """What a model said is no function of the log, so only its difference can be held to."""
    chosen, rejected = pair.chosen[0].content, pair.rejected[0].content
    response = RESPONSES.get(pair.rule)
    if pair.garbler == HIGH_TEMPERATURE:
        return rejected != chosen and pair.garbled_distance == distance(chosen, rejected)
    if pair.garbled_distance is not UNSET:
        return False
    if pair.garbler != "corrupt" or response is None:
        return rejected != chosen
    return rejected == corrupt(pair.prompt, chosen, kind=response, seed=pair.pair_id).text
