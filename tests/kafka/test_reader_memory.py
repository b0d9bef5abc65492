"""What a reader holds of a topic does not follow what stands in it, however well that packs."""

import json
import random
import time

import pytest
from confluent_kafka import Consumer, TopicPartition

from schemas import clients
from schemas.topics import PAIRS
from tests.kafka.services import Deployment

pytestmark = pytest.mark.kafka

RECORDS, RECORD_BYTES = 50_000, 3_000
MOST_BYTES = RECORDS * RECORD_BYTES // 3


def record(number: int) -> tuple[bytes, bytes]:
    """It packs to a tenth or so, as code that is tried again and again."""
    text = random.Random(number).randbytes(RECORD_BYTES // 20).hex().encode()
    return b"%d" % number, text * 10


def test_a_reader_fetches_little_ahead_of_text_that_packs_well(deployment: Deployment) -> None:
    topic = deployment.names.topic(PAIRS)
    deployment.send([record(number) for number in range(RECORDS)], PAIRS)
    ahead: list[int] = []

    def note(told: str) -> None:
        partitions = json.loads(told)["topics"].get(topic, {"partitions": {}})["partitions"]
        # One queue serves all partitions, and each tells the whole of it.
        ahead.append(
            max((partition["fetchq_size"] for partition in partitions.values()), default=0)
        )

    reader = Consumer(
        clients.reader(deployment.settings, group="test")
        | {"statistics.interval.ms": 50, "stats_cb": note}
    )
    reader.assign([TopicPartition(topic, partition, 0) for partition in range(4)])
    read = 0
    while read < RECORDS:
        read += sum(not message.error() for message in reader.consume(2000, timeout=5.0))
        time.sleep(0.05)  # it is slower than the brokers
    reader.close()

    assert 0 < max(ahead) < MOST_BYTES
