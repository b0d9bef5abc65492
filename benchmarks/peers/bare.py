"""A minimal loop, by confluent-kafka's defaults: parses every record and does nothing else.

    python -m benchmarks.peers.bare SERVERS TOPIC PARTITIONS RECORDS

Writes the seconds from the assignment to the last record.
"""

import sys
import time

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

BATCH = 500


def read(servers: str, topic: str, partitions: int, records: int) -> float:
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "bare",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
    started, left = time.monotonic(), records
    while left > 0:
        for message in consumer.consume(BATCH, timeout=0.1):
            if message.error() is None:
                orjson.loads(message.value())
                left -= 1
    seconds = time.monotonic() - started
    consumer.close()
    return seconds


if __name__ == "__main__":
    servers, topic, partitions, records = sys.argv[1:]
    print(read(servers, topic, int(partitions), int(records)))
