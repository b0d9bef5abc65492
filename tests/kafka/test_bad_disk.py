"""A broker whose disk is full: it ends, the worker waits or ends, and nothing is lost."""

from pathlib import Path

import pytest
from confluent_kafka import Producer

from pairstream.cluster import Cluster, apply_topics
from schemas import clients
from schemas.topics import PAIRS, RUN_EVENTS, RUN_OUTCOMES, SCORED_ROWS
from tests.apache_kafka import ApacheKafka
from tests.conftest import Pairstream
from tests.kafka.services import WAIT_SECONDS, Deployment
from tests.kafka.test_worker import await_settled, outcomes, runs

pytestmark = pytest.mark.kafka

RUNS = 500

# No signal: it saw that it could not write.
GAVE_UP = 1


def test_a_broker_whose_disk_is_full_costs_nothing_once_there_is_room_again(
    tmp_path_factory: pytest.TempPathFactory,
    apache_kafka: ApacheKafka,
    prefix: str,
    tmp_path: Path,
    pairstream: Pairstream,
) -> None:
    with ApacheKafka(apache_kafka.home, tmp_path_factory.mktemp("full")) as kafka:
        deployment = Deployment(kafka.bootstrap_servers, prefix, tmp_path)
        list(apply_topics(Cluster(deployment.settings), deployment.settings))
        agents = Producer(clients.producer(deployment.settings))
        with deployment.running("worker") as worker:
            for key, value in runs(0, RUNS):
                agents.produce(deployment.names.topic(RUN_EVENTS), value, key)
            worker.wait_until(lambda: bool(outcomes(deployment)), "the first outcome")
            kafka.fill_disk()
            assert kafka.await_end() == GAVE_UP
            kafka.start()
            assert agents.flush(WAIT_SECONDS) == 0
            # It may have ended, with a line that says why; the next one goes on.
            with deployment.running("worker") as next_one:
                await_settled(deployment, next_one, RUNS)
                next_one.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
            assert worker.process.poll() is None or "the worker ended: " in worker.log

        for topic, key, count in (
            (RUN_OUTCOMES, "run_id", RUNS),
            (PAIRS, "pair_id", RUNS),
            (SCORED_ROWS, "row_id", 2 * RUNS),
        ):
            assert len({row[key] for row in deployment.rows(topic)}) == count
        # By code of its own: what must be there, and nothing that contradicts it.
        pairstream("verify", env=deployment.environment)
