"""Looks on by ways that no blow touches: which runs are settled, what is committed, the memory.

A commit may go back: a worker that was thrown out may commit once more while its group is empty.
That costs work done twice and loses nothing, so it is counted and no fault.
"""

import os
import threading
import time
from collections import defaultdict
from pathlib import Path

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from schemas import clients
from schemas.settings import TopicSettings
from schemas.topics import GARBLE_REQUESTS, RUN_EVENTS, RUN_OUTCOMES, Names
from tests.chaos.supervisor import ChaosError, Supervised

READ_SECONDS = 0.2
ASK_SECONDS = 2.0
ASK_EVERY = 5
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Sample = tuple[float, int]


class Watch:
    """A thread that reads; `went_back` is by how many records commits went back."""

    def __init__(self, settings: TopicSettings, processes: list[Supervised]) -> None:
        names = Names(settings.topic_prefix)
        # Runs by partition: those of the events, as both have the same key.
        self.settled: dict[int, set[str]] = {number: set() for number in range(settings.partitions)}
        self.went_back: list[int] = []
        # By life: seconds since the start of the watch, and resident bytes.
        self.memory: defaultdict[str, list[Sample]] = defaultdict(list)
        self._began = time.monotonic()
        self._processes = processes
        self._committed: dict[tuple[str, int], int] = {}
        self._lock = threading.Lock()
        self._outcomes = Consumer(_reader(settings, "chaos-watch"))
        self._group = Consumer(_reader(settings, names.worker_app))
        partitions = range(settings.partitions)
        outcomes = names.topic(RUN_OUTCOMES)
        self._outcomes.assign([TopicPartition(outcomes, p, OFFSET_BEGINNING) for p in partitions])
        self._asked = [
            TopicPartition(names.topic(topic), partition)
            for topic in (RUN_EVENTS, GARBLE_REQUESTS)
            for partition in partitions
        ]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        turn = 0
        while not self._stop.is_set():
            for message in self._outcomes.consume(500, timeout=READ_SECONDS):
                if message.error() is None:
                    run_id = orjson.loads(message.value())["run_id"]
                    self.settled[message.partition()].add(run_id)
            turn += 1
            if turn % ASK_EVERY == 0:
                self._sample_memory()
                self._compare_commits()

    def counts(self) -> list[int]:
        """How many runs are settled, by partition."""
        return [len(runs) for runs in self.settled.values()]

    def check_alive(self) -> None:
        if not self._thread.is_alive():
            raise ChaosError("the watch has died; see the traceback above")

    def _sample_memory(self) -> None:
        for process in list(self._processes):
            life = process.life
            size = _resident_bytes(life.process.pid)
            if size:
                at = time.monotonic() - self._began
                self.memory[f"{process.name}.{len(process.lives)}"].append((at, size))

    def _compare_commits(self) -> None:
        with self._lock:
            try:
                answers = self._group.committed(self._asked, timeout=ASK_SECONDS)
            except KafkaException:
                return  # the coordinator is on its way; the next sample asks again
            for answer in answers:
                if answer.error is None and answer.offset >= 0:
                    self._compare(answer)

    def _compare(self, answer: TopicPartition) -> None:
        place = (answer.topic, answer.partition)
        before = self._committed.get(place, 0)
        if answer.offset < before:
            self.went_back.append(before - answer.offset)
        self._committed[place] = answer.offset

    def forget_commits(self) -> None:
        """After the group was deleted it begins again."""
        with self._lock:
            self._committed.clear()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._outcomes.close()
        self._group.close()


def _reader(settings: TopicSettings, group: str) -> clients.ClientConfig:
    return clients.reader(settings, group=group) | {"log_level": 0}


def _resident_bytes(pid: int) -> int:
    """0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0
