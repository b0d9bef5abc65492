"""Fuzzed records, sent to a worker among good runs, cost nobody else anything."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pairstream.cluster import Cluster, apply_topics
from schemas import clients, dead_letters
from schemas.dead_letters import Header
from schemas.rows import encode
from schemas.topics import GARBLE_REQUESTS, PAIRS, RUN_EVENTS, RUN_OUTCOMES, SCORED_ROWS
from streams.garbling import corrupt, garbled_pair
from streams.partition import Effects, Partition
from tests.fuzz.logs import INPUTS_A_LOG, Input, inputs, records
from tests.fuzz.values import CLASSES
from tests.kafka.services import WAIT_SECONDS, Deployment
from tests.streams.histories import CRASHED, attempted, finished, ok, proposed, started, to_bytes

INPUTS_IN_ALL = 2_000
GOOD_RUNS = 100
PARTITIONS = 4

OF_EACH = -(-INPUTS_IN_ALL // len(CLASSES))
LOGS_OF_EACH = 2 * OF_EACH // INPUTS_A_LOG

SAME_EVERY_TIME = settings(
    max_examples=LOGS_OF_EACH,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

HEADERS: list[Header] = [
    ("ce_type", b"run.started"),
    ("raw", bytes(range(256))),
    ("none", None),
    ("empty", b""),
    ("ce_type", "again \u00e9".encode()),
]

Record = tuple[bytes | None, bytes | None]
Place = tuple[int, int]
ROWS = (RUN_OUTCOMES, SCORED_ROWS, GARBLE_REQUESTS, PAIRS)


def inputs_of(values: st.SearchStrategy[bytes | None]) -> list[Input]:
    """The same ones every time."""
    found: dict[Input, None] = {}

    @SAME_EVERY_TIME
    @given(st.lists(inputs(values), min_size=INPUTS_A_LOG, max_size=INPUTS_A_LOG, unique=True))
    def collect(several: list[Input]) -> None:
        found.update(dict.fromkeys(several))

    collect()
    return list(found)[:OF_EACH]


def good_run(number: int) -> list[Record]:
    run_id = f"good-{number}"
    events = [
        started(run_id),
        proposed(run_id=run_id),
        attempted(1, "fail()", CRASHED, run_id=run_id),
        attempted(2, good_code(run_id), ok(2.5), run_id=run_id),
        finished(run_id),
    ]
    return [(run_id.encode(), to_bytes(event)) for event in events]


def good_code(run_id: str) -> str:
    return f"free({run_id!r})  # <|im_end|> \u00e9\U0001f600\x00"


def all_records(sent: Sequence[Input]) -> list[Record]:
    """Runs of inputs and good runs, mixed; behind them the ends of the inputs' runs."""
    groups = [records(one, f"f-{number}") for number, one in enumerate(sent)]
    mixed = [record for group in groups for record in group]
    random.Random(7).shuffle(mixed)
    for number in range(GOOD_RUNS):
        place = number * len(mixed) // GOOD_RUNS
        mixed[place:place] = good_run(number)
    ends = [f"f-{number}" for number in range(len(sent))]
    return mixed + [(run_id.encode(), to_bytes(finished(run_id))) for run_id in ends]


def send(deployment: Deployment, several: Sequence[Record]) -> None:
    producer = Producer(clients.producer(deployment.settings))
    for number, (key, value) in enumerate(several):
        headers = [*HEADERS, ("number", str(number).encode())]
        producer.produce(deployment.names.topic(RUN_EVENTS), value, key, headers=headers)
        producer.poll(0)
    assert producer.flush(WAIT_SECONDS) == 0


def test_fuzzed_records_end_in_rows_or_dead_letters_and_harm_no_good_run(
    embedded_broker: str, prefix: str, tmp_path: Path
) -> None:
    deployment = Deployment(embedded_broker, prefix, tmp_path, partitions=PARTITIONS)
    list(apply_topics(Cluster(deployment.settings), deployment.settings))
    sent = [one for values in CLASSES.values() for one in inputs_of(values)]
    several = all_records(sent)

    with deployment.running("worker") as worker:
        send(deployment, several)
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.process.poll() is None
        assert worker.stop() == 0, worker.log

    log = {place_of(message): message for message in events_in(deployment)}
    assert len(sent) >= INPUTS_IN_ALL
    assert Counter(map(record_of, log.values())) == Counter(several)
    effects = [effects_of(log, partition) for partition in range(PARTITIONS)]
    assert_good_runs_have_their_pairs(deployment)
    assert_rows_are_those_of(deployment, effects)
    assert_letters_are_those_of(deployment, effects, log)


def events_in(deployment: Deployment) -> list[Any]:
    return deployment.messages(deployment.names.topic(RUN_EVENTS))


def place_of(message: Any) -> Place:
    return message.partition(), message.offset()


def record_of(message: Any) -> Record:
    return message.key(), message.value()


def effects_of(log: dict[Place, Any], partition: int) -> tuple[Effects, dict[Place, str]]:
    """What one partition's records ask for, and why each of the refused is refused."""
    places = [place for place in sorted(log) if place[0] == partition]
    effects = Partition(extended=False).apply(
        [(*record_of(log[place]), place[1]) for place in places], now_ms=0
    )
    return effects, {places[index]: error.reason for index, error in effects.refused}


def assert_good_runs_have_their_pairs(deployment: Deployment) -> None:
    chosen = {
        pair["run_id"]: pair["chosen"][0]["content"]
        for pair in deployment.rows(PAIRS)
        if pair["run_id"].startswith("good-")
    }
    run_ids = [f"good-{number}" for number in range(GOOD_RUNS)]
    assert chosen == {run_id: good_code(run_id) for run_id in run_ids}


def assert_rows_are_those_of(
    deployment: Deployment, effects: Sequence[tuple[Effects, dict[Place, str]]]
) -> None:
    expected = Counter((topic, value) for each, _ in effects for topic, _, value in each.rows)
    garbled = [
        encode(garbled_pair(request, corrupt))
        for each, _ in effects
        for settlement in each.settlements
        for request in settlement.garble_requests
    ]
    expected.update((PAIRS, value) for value in garbled)
    names = deployment.names
    found = [(t, m.value()) for t in ROWS for m in deployment.messages(names.topic(t))]

    assert len(garbled) > 0
    assert Counter(found) == expected


def assert_letters_are_those_of(
    deployment: Deployment,
    effects: Sequence[tuple[Effects, dict[Place, str]]],
    log: dict[Place, Any],
) -> None:
    """One for each refused record: its reason, and key, value and headers as they came."""
    refused = {place: reason for _, reasons in effects for place, reason in reasons.items()}
    letters = deployment.dead_letters(RUN_EVENTS)

    assert len(letters) == len(refused) > 0
    assert {source_of(letter): reason_of(letter) for letter in letters} == refused
    for letter in letters:
        source = log[source_of(letter)]
        assert record_of(letter) == record_of(source)
        assert dead_letters.original_headers(letter.headers()) == source.headers()
        assert source.headers()[: len(HEADERS)] == HEADERS


def source_of(letter: Any) -> Place:
    partition, offset = (
        dead_letters.read(letter.headers(), name)
        for name in (dead_letters.PARTITION, dead_letters.OFFSET)
    )
    assert partition is not None
    assert offset is not None
    return int(partition), int(offset)


def reason_of(letter: Any) -> str | None:
    return dead_letters.read(letter.headers(), dead_letters.REASON)
