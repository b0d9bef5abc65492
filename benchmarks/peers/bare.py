"""A minimal loop, by confluent-kafka's defaults: parses every record and does nothing else.

    python -m benchmarks.peers.bare SERVERS TOPIC PARTITIONS RECORDS

Writes the seconds from the assignment to the last record.
"""

import sys
import time
from collections.abc import Iterator

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

BATCH = 500


def records_of(servers: str, topic: str, partitions: int, records: int) -> Iterator[bytes]:
    """The values of so many records."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "bare",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
    left = records
    while left > 0:
        for message in consumer.consume(BATCH, timeout=0.1):
            if message.error() is None:
                yield message.value()
                left -= 1
    consumer.close()


def read(servers: str, topic: str, partitions: int, records: int) -> float:
    begun = time.monotonic()
    for value in records_of(servers, topic, partitions, records):
        orjson.loads(value)
    return time.monotonic() - begun


if __name__ == "__main__":
    servers, topic, partitions, records = sys.argv[1:]
    print(read(servers, topic, int(partitions), int(records)))
