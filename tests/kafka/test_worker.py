"""The worker on Apache Kafka: bad records, timeouts, several workers, stalls, broker deaths."""

import signal
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas import dead_letters
from schemas.topics import PAIRS, RUN_EVENTS, RUN_OUTCOMES, SCORED_ROWS
from tests.apache_kafka import PASSWORD, USER, ApacheKafka
from tests.conftest import Pairstream
from tests.kafka.services import TAKEN_OVER, Deployment, Record, Service, records
from tests.streams.histories import CRASHED, attempted, finished, ok, proposed, started

pytestmark = pytest.mark.kafka


def runs(first: int, count: int) -> list[Record]:
    """Records of whole mixed runs: one pair and one outcome each."""
    return records(
        event for number in range(first, first + count) for event in _a_run(f"run-{number}")
    )


def _a_run(run_id: str) -> list[dict[str, Any]]:
    return [
        started(run_id),
        proposed(run_id=run_id),
        attempted(1, "fail()", CRASHED, run_id=run_id),
        attempted(2, "free()", ok(2.5), run_id=run_id),
        finished(run_id),
    ]


def outcomes(deployment: Deployment) -> list[str]:
    return [row["run_id"] for row in deployment.rows(RUN_OUTCOMES)]


def await_settled(deployment: Deployment, worker: Service, count: int) -> None:
    worker.wait_until(lambda: len(set(outcomes(deployment))) == count, f"{count} outcomes")


def test_bad_records_become_dead_letters_and_delay_nothing_else(deployment: Deployment) -> None:
    bad: list[Record] = [
        (b"r", b"\xff\xfe not text"),
        (b"r", b"{not json"),
        (
            b"r",
            orjson.dumps({"type": "run.finished", "run_id": "", "time": "2026-11-23T10:00:00Z"}),
        ),
        (b"another", runs(0, 1)[0][1]),
        (None, runs(0, 1)[0][1]),
        (b"r", None),
    ]
    unknown = (b"r", orjson.dumps({"type": "run.paused", "run_id": "r"}))
    deployment.send([*bad, unknown, *runs(0, 20), *bad, *runs(20, 20)])

    with deployment.running("worker") as worker:
        await_settled(deployment, worker, 40)
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.stop() == 0, worker.log

    letters = deployment.dead_letters(RUN_EVENTS)
    assert sorted(_record(letter) for letter in letters) == sorted(map(_sortable, bad * 2))
    source = {(m.partition(), m.offset()): m for m in deployment.messages(_events(deployment))}
    for letter in letters:
        headers = letter.headers()
        assert dead_letters.read(headers, dead_letters.REASON) == "invalid_event"
        assert dead_letters.read(headers, dead_letters.TOPIC) == _events(deployment)
        place = (_number(headers, dead_letters.PARTITION), _number(headers, dead_letters.OFFSET))
        assert _record(source[place]) == _record(letter)


def _events(deployment: Deployment) -> str:
    return deployment.names.topic(RUN_EVENTS)


def _number(headers: Any, name: str) -> int:
    text = dead_letters.read(headers, name)
    assert text is not None
    return int(text)


def _record(message: Any) -> tuple[bytes, bytes]:
    return _sortable((message.key(), message.value()))


def _sortable(record: Record) -> tuple[bytes, bytes]:
    return record[0] or b"(none)", record[1] or b"(none)"


def test_a_silent_run_is_settled_by_an_event_in_the_log_and_what_comes_late_is_refused(
    deployment: Deployment, pairstream: Pairstream
) -> None:
    *begun, finished = runs(0, 1)
    deployment.send(begun)

    with deployment.running("worker", run_timeout_seconds="2") as worker:
        await_settled(deployment, worker, 1)
        deployment.send([begun[0], finished])
        worker.wait_until(lambda: bool(deployment.dead_letters(RUN_EVENTS)), "a dead letter")
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")

    [outcome] = deployment.rows(RUN_OUTCOMES)
    assert outcome["settled_by"] == "timeout"
    [letter] = deployment.dead_letters(RUN_EVENTS)
    assert _record(letter) == _sortable(finished)
    assert dead_letters.read(letter.headers(), dead_letters.REASON) == "run_settled"
    pairstream("replay", "--from", "events", "--out", "again", env=deployment.environment)
    again = (deployment.folder / "again" / "train.jsonl").read_bytes()
    assert [orjson.loads(line) for line in again.splitlines()] == deployment.rows(PAIRS)


def test_workers_share_the_partitions_and_take_over_from_one_that_dies(
    deployment: Deployment,
) -> None:
    with deployment.running("worker") as first, deployment.running("worker") as second:
        first.await_log(TAKEN_OVER)
        second.await_log(TAKEN_OVER)
        deployment.send(runs(0, 100))
        await_settled(deployment, second, 100)
        first.kill()
        deployment.send(runs(100, 100))
        await_settled(deployment, second, 200)
        with deployment.running("worker") as third:
            third.await_log(TAKEN_OVER)
            deployment.send(runs(200, 100))
            await_settled(deployment, third, 300)
            third.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
            assert third.stop() == 0, third.log

    _check_each_once(deployment, 300)


def _check_each_once(deployment: Deployment, count: int) -> None:
    """What was written twice is the same twice, and nothing is missing."""
    for topic, key, number in (
        (RUN_OUTCOMES, "run_id", count),
        (PAIRS, "pair_id", count),
        (SCORED_ROWS, "row_id", 2 * count),
    ):
        rows = deployment.rows(topic)
        by_id = {row[key]: row for row in rows}
        assert len(by_id) == number
        assert all(by_id[row[key]] == row for row in rows)
    assert deployment.dead_letters(RUN_EVENTS) == []


def test_a_worker_that_stood_still_ends_when_it_wakes_and_its_successor_is_right(
    deployment: Deployment,
) -> None:
    halves = [runs(number, 1) for number in range(40)]
    with deployment.running("worker") as zombie:
        zombie.await_log(TAKEN_OVER)
        deployment.send([record for run in halves for record in run[:3]])
        zombie.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        zombie.process.send_signal(signal.SIGSTOP)
        with deployment.running("worker") as successor:
            successor.await_log(TAKEN_OVER)
            zombie.process.send_signal(signal.SIGCONT)
            deployment.send([record for run in halves for record in run[3:]])
            await_settled(deployment, successor, 40)
            assert zombie.await_end() == 1, zombie.log
            assert "stood still" in zombie.log
            assert successor.stop() == 0, successor.log
    _check_each_once(deployment, 40)


def test_a_broker_that_dies_and_comes_back_costs_nothing(
    tmp_path_factory: pytest.TempPathFactory, apache_kafka: ApacheKafka, prefix: str, tmp_path: Path
) -> None:
    from pairstream.cluster import Cluster, apply_topics

    with ApacheKafka(apache_kafka.home, tmp_path_factory.mktemp("mortal")) as kafka:
        deployment = Deployment(kafka.bootstrap_servers, prefix, tmp_path)
        list(apply_topics(Cluster(deployment.settings), deployment.settings))
        with deployment.running("worker") as worker:
            worker.await_log(TAKEN_OVER)
            deployment.send(runs(0, 50))
            await_settled(deployment, worker, 50)
            kafka.kill()
            kafka.start()
            deployment.send(runs(50, 50))
            # It may end instead, with a line that says why; the next one goes on.
            with deployment.running("worker") as next_one:
                await_settled(deployment, next_one, 100)
                next_one.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        _check_each_once(deployment, 100)


def test_a_cluster_with_passwords_takes_the_right_one_and_names_the_wrong_one(
    deployment: Deployment, apache_kafka: ApacheKafka, pairstream: Pairstream
) -> None:
    secured = {
        "PAIRSTREAM_BOOTSTRAP_SERVERS": f"127.0.0.1:{apache_kafka.sasl_port}",
        "PAIRSTREAM_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "PAIRSTREAM_SASL_MECHANISM": "PLAIN",
        "PAIRSTREAM_SASL_USERNAME": USER,
    }
    deployment.send(runs(0, 5))
    deployment.environment.update(secured, PAIRSTREAM_SASL_PASSWORD=PASSWORD)
    with deployment.running("worker") as worker:
        await_settled(deployment, worker, 5)

    wrong = {**deployment.environment, "PAIRSTREAM_SASL_PASSWORD": "wrong"}
    for command in (("worker",), ("status",), ("topics", "apply")):
        refused = pairstream(*command, env=wrong, check=False)
        assert refused.returncode == 1
        assert "PAIRSTREAM_SASL_PASSWORD" in refused.stderr
        assert PASSWORD not in refused.stderr


def test_missing_topics_an_absent_broker_and_other_partitions_are_named(
    deployment: Deployment, pairstream: Pairstream
) -> None:
    other = {**deployment.environment, "PAIRSTREAM_TOPIC_PREFIX": "nobody-made-these."}
    missing = pairstream("worker", env=other, check=False)
    assert missing.returncode == 1
    assert "pairstream topics apply" in missing.stderr

    absent = {**deployment.environment, "PAIRSTREAM_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    unreachable = pairstream("worker", env=absent, check=False)
    assert unreachable.returncode == 1
    assert "no broker answers at 127.0.0.1:1" in unreachable.stderr

    _add_partitions(deployment)
    changed = pairstream("worker", env=deployment.environment, check=False)
    assert changed.returncode == 1
    assert "partitions" in changed.stderr


def _add_partitions(deployment: Deployment) -> None:
    from confluent_kafka.admin import AdminClient, NewPartitions

    from schemas.clients import connection

    admin = AdminClient(connection(deployment.settings))
    for made in admin.create_partitions([NewPartitions(_events(deployment), 6)]).values():
        made.result()


def test_a_named_worker_that_was_killed_has_its_partitions_again_within_its_session(
    deployment: Deployment,
) -> None:
    """A session is longer than anything is waited for here."""
    settings = {"group_instance_id": "worker-0", "session_timeout_seconds": "600"}
    deployment.send(runs(0, 3))
    with deployment.running("worker", **settings) as worker:
        await_settled(deployment, worker, 3)
        worker.kill()
    deployment.send(runs(3, 3))

    with deployment.running("worker", **settings) as successor:
        await_settled(deployment, successor, 6)
        assert successor.stop() == 0, successor.log
