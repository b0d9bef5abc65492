"""The worker beside a bare confluent-kafka + orjson loop, over the same events, in turns.

    KAFKA_HOME=... python -m benchmarks.worker [--recorded FILE] [--events N] [--turns N]

Both clocks start when partitions are assigned. The bare loop stops when it has parsed the last
event; the worker when the outcome of the last run stands in its topic.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from benchmarks.load import tiled
from pairstream.cluster import Cluster, apply_topics
from schemas import clients
from schemas.settings import TopicSettings
from schemas.topics import RUN_EVENTS, RUN_OUTCOMES, Names
from tests.apache_kafka import ApacheKafka

PARTITIONS = 4
BATCH = 500
POLL_SECONDS = 0.01
LIMIT_SECONDS = 600.0


def produce(settings: TopicSettings, recorded: Path | None, events: int) -> tuple[int, int]:
    """Create the topics of the prefix and fill them; the counts of events and runs."""
    list(apply_topics(Cluster(settings), settings))
    producer = Producer(clients.producer(settings))
    topic = Names(settings.topic_prefix).topic(RUN_EVENTS)
    sent, runs = 0, set()
    for key, value in tiled(recorded, events):
        while True:
            try:
                producer.produce(topic, value, key)
                break
            except BufferError:
                producer.poll(0.1)
        sent += 1
        runs.add(key)
    producer.flush()
    return sent, len(runs)


def bare(settings: TopicSettings, events: int) -> float:
    """Seconds to read and parse every event and do nothing else, by confluent-kafka's defaults."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": "bare",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    topic = Names(settings.topic_prefix).topic(RUN_EVENTS)
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])
    started, left = time.monotonic(), events
    while left:
        for message in consumer.consume(BATCH, timeout=0.1):
            if message.error() is None:
                orjson.loads(message.value())
                left -= 1
    seconds = time.monotonic() - started
    consumer.close()
    return seconds


def worker(settings: TopicSettings, runs: int) -> float:
    """Seconds to settle every run, with state, changelog and every row acknowledged."""
    consumer = Consumer(clients.reader(settings, group="watch"))
    topic = Names(settings.topic_prefix).topic(RUN_OUTCOMES)
    partitions = [TopicPartition(topic, p) for p in range(PARTITIONS)]
    with _running_worker(settings) as ready:
        started = time.monotonic()
        assert ready
        while True:
            ends = (consumer.get_watermark_offsets(p, timeout=10)[1] for p in partitions)
            if sum(ends) >= runs:
                break
            if time.monotonic() - started > LIMIT_SECONDS:
                raise RuntimeError("the worker does not come to the end")
            time.sleep(POLL_SECONDS)
        seconds = time.monotonic() - started
    consumer.close()
    return seconds


@contextmanager
def _running_worker(settings: TopicSettings) -> Iterator[bool]:
    process = subprocess.Popen(
        [sys.executable, "-m", "pairstream", "worker"],
        env=os.environ
        | {
            "PAIRSTREAM_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "PAIRSTREAM_TOPIC_PREFIX": settings.topic_prefix,
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        yield any("partitions_taken_over" in line for line in process.stderr)
    finally:
        process.terminate()
        process.stderr.close()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recorded", type=Path, help="JSON lines of recorded events")
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the figures there as JSON")
    args = parser.parse_args()
    home = os.environ.get("KAFKA_HOME")
    if not home:
        parser.error("set KAFKA_HOME to the folder of Apache Kafka")
    with tempfile.TemporaryDirectory() as folder, ApacheKafka(Path(home), Path(folder)) as kafka:
        # The broker's machine code is made in the first one, which does not count.
        turns = [_turn(kafka.bootstrap_servers, args, n) for n in range(args.turns + 1)][1:]
    ratios = [turn["ratio"] for turn in turns]
    result = {
        "ratio": statistics.median(ratios),
        "turns": turns,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": "recorded" if args.recorded else "synthetic",
    }
    print(f"median ratio {result['ratio']:.2f}")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=2) + "\n")


def _turn(servers: str, args: argparse.Namespace, number: int) -> dict[str, float]:
    settings = TopicSettings(
        bootstrap_servers=servers, topic_prefix=f"turn{number}.", partitions=PARTITIONS
    )
    events, runs = produce(settings, args.recorded, args.events)
    bare_rate = events / bare(settings, events)
    worker_rate = events / worker(settings, runs)
    turn = {"events": events, "bare": bare_rate, "worker": worker_rate}
    turn["ratio"] = worker_rate / bare_rate
    print(
        f"turn {number}: {events} events, {runs} runs: bare {bare_rate:,.0f}/s, "
        f"worker {worker_rate:,.0f}/s, ratio {turn['ratio']:.2f}",
        flush=True,
    )
    return turn


if __name__ == "__main__":
    main()
