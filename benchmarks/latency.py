"""Row d: from handing `run.finished` to a producer to its pair in the hands of a plain consumer.

One worker; a sender that keeps to a steady clock, many runs at a time.
"""

import threading
import time
from collections.abc import Iterable, Sequence

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from benchmarks.bench import Bench, Row
from benchmarks.deployment import TAKEN_OVER, Deployment
from benchmarks.load import Event
from benchmarks.report import Goal, Measured, percentile
from schemas import clients
from schemas.topics import PAIRS, RUN_EVENTS

EVENTS_A_SECOND = 1000
WARM_UP_SECONDS = 3.0
SECONDS_A_TURN = 12.0
INTERLEAVED = 100
POLL_SECONDS = 0.5
FINISHED = b'"run.finished"'

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9, 100)


class Sender(threading.Thread):
    """Sends each event at its time; `finished_at` tells when a run's last one was handed over."""

    def __init__(self, deployment: Deployment, events: Iterable[Event]) -> None:
        super().__init__(daemon=True)
        self._producer = Producer(clients.producer(deployment.settings) | {"linger.ms": 0})
        self._topic = deployment.names.topic(RUN_EVENTS)
        self._events = events
        self.begun = 0.0
        self.latest = 0.0
        self.finished_at: dict[bytes, float] = {}

    def run(self) -> None:
        self.begun = time.perf_counter()
        for number, (key, value) in enumerate(self._events):
            due = self.begun + number / EVENTS_A_SECOND
            while (wait := due - time.perf_counter()) > 0:
                time.sleep(wait)
            self.latest = max(self.latest, -wait)
            if FINISHED in value:
                self.finished_at[key] = time.perf_counter()
            self._producer.produce(self._topic, value, key)
            self._producer.poll(0)
        self._producer.flush()


class Receiver(threading.Thread):
    """Notes when each pair came for the first time."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(daemon=True)
        settings = deployment.settings
        self._consumer = Consumer(
            {"bootstrap.servers": settings.bootstrap_servers, "group.id": "latency"}
        )
        topic = deployment.names.topic(PAIRS)
        partitions = range(settings.partitions)
        self._consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
        self._is_over = threading.Event()
        self._arrived: list[tuple[float, bytes, bytes]] = []

    def run(self) -> None:
        while not self._is_over.is_set():
            message = self._consumer.poll(POLL_SECONDS)
            if message is not None and message.error() is None:
                self._arrived.append((time.perf_counter(), message.key(), message.value()))

    @property
    def count(self) -> int:
        return len(self._arrived)

    def end(self) -> list[tuple[float, bytes]]:
        """When, and of which run, each pair came."""
        self._is_over.set()
        self.join()
        self._consumer.close()
        first: dict[str, tuple[float, bytes]] = {}
        for at, key, value in self._arrived:
            first.setdefault(orjson.loads(value)["pair_id"], (at, key))
        return list(first.values())


def measure(bench: Bench) -> Measured:
    seconds = WARM_UP_SECONDS + bench.options.turns * SECONDS_A_TURN
    load = bench.whole_load(round(EVENTS_A_SECOND * seconds), interleaved=INTERLEAVED)
    with bench.deployment() as deployment, deployment.worker() as worker:
        worker.said_at(TAKEN_OVER)
        receiver, sender = Receiver(deployment), Sender(deployment, iter(load))
        receiver.start()
        sender.start()
        sender.join()
        deployment.await_idle(worker)
        pairs = deployment.count(PAIRS)
        worker.wait_until(lambda: receiver.count >= pairs, "every pair came")
        arrived = receiver.end()
        worker.stop()
        holds = deployment.verified()
    measured = Measured(
        facts={"load": load.name, "events_a_second": EVENTS_A_SECOND, "pairs": len(arrived)},
        correctness={"verify_holds": holds},
        notes=["Every pair counts, garbled ones too: from its run's run.finished."],
    )
    measured.facts["sender_late_by_at_most_ms"] = sender.latest * 1000
    begins = sender.begun + WARM_UP_SECONDS
    for number in range(bench.options.turns):
        since = begins + number * SECONDS_A_TURN
        waits = _waits(sender, arrived, since, since + SECONDS_A_TURN)
        turn = {f"p{share:g}_ms": percentile(waits, share / 100) for share in PERCENTILES}
        measured.turns.append(turn | {"pairs": float(len(waits))})
        bench.told({name: turn[name] for name in ("p50_ms", "p99_ms", "p100_ms")})
    return measured


def _waits(
    sender: Sender, arrived: Sequence[tuple[float, bytes]], since: float, until: float
) -> list[float]:
    """Milliseconds, of the runs that were finished within a time."""
    return [
        (at - sender.finished_at[key]) * 1000
        for at, key in arrived
        if since <= sender.finished_at[key] < until
    ]


ROWS = (
    Row(
        "d",
        "run.finished to its pair, at 1,000 events/s",
        (Goal("p50_ms", "at most", 20, "ms"), Goal("p99_ms", "at most", 100, "ms")),
        measure,
    ),
)
