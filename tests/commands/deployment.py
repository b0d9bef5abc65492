"""A deployment for tests of commands: topics with rows in them, made by the pure core.

`Deployment.settle` does what a worker does with the events, in the same order, without Faust.
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from pairstream.__main__ import cli
from pairstream.cluster import Cluster, apply_topics
from pairstream.reader import TopicReader
from schemas import clients, dead_letters
from schemas.dead_letters import Header, Origin
from schemas.errors import InvalidRecord
from schemas.rows import (
    Pair,
    TrainingStep,
    TrainingStepName,
    encode,
    parse_garble_request,
    parse_pair,
)
from schemas.settings import TopicSettings
from schemas.topics import GARBLE_REQUESTS, PAIRS, RUN_EVENTS, TRAININGS, Names, Topic
from streams.garbling import Garbler, corrupt, garbled_pair
from streams.partition import Partition
from streams.redaction_program import NotRedacted
from trainer.cut import choose, cut_dataset
from trainer.datasets import DatasetManifest, uncut
from trainer.layout import DataDir
from trainer.left_out import waiting_ids
from trainer.segments import OpenSegment, list_segments, next_offsets
from trainer.selection import CutSettings
from trainer.source import open_source
from trainer.training_manifest import TrainingManifest, write_training
from trainer.verdict import Verdict

PARTITIONS = 4
DELIVERY_SECONDS = 30.0
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)

Event = dict[str, Any]


def started(run_id: str, **fields: object) -> Event:
    part = [{"role": "user", "content": f"Free space for {run_id}."}]
    names = ("system_plist", "basic_env_plist", "special_egc_req_plist", "strat_code_req_plist")
    return _event("run.started", run_id, prompts=dict.fromkeys(names, part), **fields)


def proposed(run_id: str, strategy_id: str = "s-1", **fields: object) -> Event:
    text = {"strategy": f"Empty the cache of {run_id}.", **fields}
    return _event("strategy.proposed", run_id, strategy_id=strategy_id, **text)


def attempted(run_id: str, number: int, score: float, **fields: object) -> Event:
    usual = {"strategy_id": "s-1", "code": f"free({number})", "compiled": True, "ran": True}
    return _event("code.attempted", run_id, attempt=number, score=score, **{**usual, **fields})


def finished(run_id: str) -> Event:
    return _event("run.finished", run_id)


def mixed_run(run_id: str) -> list[Event]:
    """Gives one pair: attempt 2 stands against attempt 1."""
    attempts = [attempted(run_id, 1, 0, compiled=False, ran=False), attempted(run_id, 2, 12.5)]
    return [started(run_id), proposed(run_id), *attempts, finished(run_id)]


def first_time_run(run_id: str) -> list[Event]:
    """Gives two pairs that wait for their garbled sides."""
    return [started(run_id), proposed(run_id), attempted(run_id, 1, 3), finished(run_id)]


def _event(type_: str, run_id: str, **fields: object) -> Event:
    return {"type": type_, "run_id": run_id, "time": "2026-11-23T10:00:00Z", **fields}


class Deployment:
    """Topics under a prefix of their own, and a data directory; `env` makes commands see them."""

    def __init__(self, bootstrap_servers: str, prefix: str, data_dir: Path) -> None:
        self.settings = TopicSettings(
            bootstrap_servers=bootstrap_servers, topic_prefix=prefix, partitions=PARTITIONS
        )
        self.names = Names(prefix)
        self.env = {
            "PAIRSTREAM_BOOTSTRAP_SERVERS": bootstrap_servers,
            "PAIRSTREAM_TOPIC_PREFIX": prefix,
            "PAIRSTREAM_DATA_DIR": str(data_dir),
        }
        self.data = DataDir(data_dir)
        self.cluster = Cluster(self.settings)
        assert all(state.created for state in apply_topics(self.cluster, self.settings))
        # An idempotent producer takes half a second to get its number.
        quick = {"enable.idempotence": False, "linger.ms": 0}
        self._producer = Producer(clients.producer(self.settings) | quick)
        self._partitions = [Partition(extended=False) for _ in range(PARTITIONS)]
        self._done: dict[tuple[str, int], int] = defaultdict(int)

    def run(self, *arguments: object) -> str:
        """Standard output of `pairstream ARGUMENTS...`, run in this process: four times as fast.

        Raises: what the command raises.
        """
        words = [str(argument) for argument in arguments]
        done = CliRunner().invoke(cli, words, env=self.env, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    def run_json(self, *arguments: object) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    # --- Agents ----------------------------------------------------------------------------------

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        headers: Sequence[Header] = (),
        partition: int = -1,
    ) -> tuple[int, int]:
        """Write one record; returns its partition and offset."""
        place = self._produce(topic, key, value, partition, headers)
        self._flush()
        return place[0]

    def say(self, *events: Event) -> list[tuple[int, int]]:
        """Send events as agents do; returns their places."""
        topic = self.names.topic(RUN_EVENTS)
        places = [
            self._produce(topic, event["run_id"].encode(), json.dumps(event).encode())
            for event in events
        ]
        self._flush()
        return [place for (place,) in places]

    # --- The worker ------------------------------------------------------------------------------

    def settle(self, *, now_ms: int = 0) -> None:
        """Fold the events that are new, write rows, state and dead letters, commit."""
        for message in self._new(self.names.topic(RUN_EVENTS)):
            partition = message.partition()
            record = (message.key(), message.value(), message.offset())
            effects = self._partitions[partition].apply([record], now_ms=now_ms)
            for topic, key, value in effects.rows:
                self._produce(self.names.topic(topic), key, value)
            for _, error in effects.refused:
                self.refuse(RUN_EVENTS, message, error)
            for state_key, state in effects.writes.items():
                self._produce(self.names.state_changelog, state_key, state, partition)
        self._commit(self.names.worker_app, self.names.topic(RUN_EVENTS))

    def fail_to_redact(self) -> None:
        """From now on, as a worker whose program of redaction is broken."""

        def fails(_: list[str]) -> list[str]:
            raise NotRedacted("broken")

        self._partitions = [Partition(extended=False, redact=fails) for _ in range(PARTITIONS)]

    def garble(self, garbler: Garbler = corrupt) -> None:
        """Complete the pairs that wait, and commit."""
        requests = self.names.topic(GARBLE_REQUESTS)
        for message in self._new(requests):
            pair = garbled_pair(parse_garble_request(message.value()), garbler)
            self._produce(self.names.topic(PAIRS), message.key(), encode(pair))
        self._commit(self.names.worker_app, requests)

    def refuse(self, topic: Topic, message: Message, error: InvalidRecord) -> None:
        headers = dead_letters.headers(
            Origin(message.topic(), message.partition(), message.offset()),
            reason=error.reason,
            detail=error.detail,
            service="pairstream-worker",
            original=message.headers() or [],
        )
        name = self.names.dead_letters(topic)
        self._produce(name, message.key(), message.value(), headers=headers)

    # --- The trainer -----------------------------------------------------------------------------

    def take_in(self) -> None:
        """Write segments of the pairs that are new, one for each partition that has some, and
        show the position.
        """
        open_source(self.data, *self.cluster.describe(self.names.topic(PAIRS)))
        self.data.segments.mkdir(parents=True, exist_ok=True)
        positions = next_offsets(list_segments(self.data.segments))
        opened: dict[int, OpenSegment] = {}
        for message in self.records(self.names.topic(PAIRS)):
            partition, offset = message.partition(), message.offset()
            if offset < positions.get(partition, 0):
                continue
            if partition not in opened:
                opened[partition] = OpenSegment(self.data.segments, partition, offset)
            pair = parse_pair(message.value())
            opened[partition].add(pair.pair_id, encode(pair) + b"\n")
            opened[partition].cover(offset)
        for segment in opened.values():
            segment.close()
        positions = next_offsets(list_segments(self.data.segments))
        self.commit(self.names.trainer_group, self.names.topic(PAIRS), positions)

    def cut(self, parent: DatasetManifest | None = None, **settings: Any) -> DatasetManifest:
        """Publish what was taken in and stands in no dataset yet, as far as the settings let it."""
        new = uncut(list_segments(self.data.segments), parent)
        waiting = waiting_ids(self.data.datasets / parent.name, parent) if parent else frozenset()
        lines = sorted(
            line
            for segment in list_segments(self.data.segments)
            for line in (self.data.segments / segment.path).read_bytes().splitlines(True)
            if segment in new or json.loads(line)["pair_id"] in waiting
        )
        [source] = self.cluster.describe(self.names.topic(PAIRS))
        cut = CutSettings(eval_fraction=0.0, **settings)
        return cut_dataset(
            self.data, new, lines, parent=parent, source=source, settings=cut,
            left_out=choose(lines, cut),
        )  # fmt: skip

    def step(self, training_id: str, step: TrainingStepName, dataset: str) -> None:
        row = TrainingStep(training_id, step, NOW, dataset, "0" * 64)
        self.send(self.names.topic(TRAININGS), training_id.encode(), encode(row))

    # --- Kafka -----------------------------------------------------------------------------------

    def records(self, topic: str) -> list[Message]:
        """All records of a topic, in order within a partition."""
        return list(TopicReader(self.settings, topic, PARTITIONS).read())

    def create(self, topic: str, partitions: int) -> None:
        self.cluster.create([NewTopic(topic, partitions, 1)])

    def commit(self, group: str, topic: str, offsets: dict[int, int]) -> None:
        consumer = Consumer(clients.reader(self.settings, group=group))
        places = [TopicPartition(topic, p, offset) for p, offset in offsets.items()]
        consumer.commit(offsets=places, asynchronous=False)
        consumer.close()

    def _new(self, topic: str) -> Iterator[Message]:
        for message in self.records(topic):
            place = (topic, message.partition())
            if message.offset() >= self._done[place]:
                yield message
                self._done[place] = message.offset() + 1
        self._flush()

    def _commit(self, group: str, topic: str) -> None:
        self.commit(group, topic, {p: self._done[topic, p] for p in range(PARTITIONS)})

    def _produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int = -1,
        headers: Sequence[Header] = (),
    ) -> list[tuple[int, int]]:
        """Queue one record; the list has its place once it is acknowledged."""
        places: list[tuple[int, int]] = []
        self._producer.produce(
            topic,
            value,
            key,
            partition,
            headers=list(headers),
            on_delivery=lambda error, message: places.append(_place(error, message)),
        )
        return places

    def _flush(self) -> None:
        deadline = time.monotonic() + DELIVERY_SECONDS
        while len(self._producer):
            assert time.monotonic() < deadline, "the broker acknowledges nothing"
            self._producer.poll(0.01)  # `flush` looks only every 0.1 s


def _place(error: object, message: Message) -> tuple[int, int]:
    assert error is None, error
    return message.partition(), message.offset()


def pair_ids(manifest_folder: Path) -> list[str]:
    """Of a dataset's training side."""
    lines = (manifest_folder / "train.jsonl").read_bytes().splitlines()
    return [json.loads(line)["pair_id"] for line in lines]


def write_ended_training(
    data: DataDir,
    training_id: str,
    dataset: str,
    *,
    exit_code: int,
    why: str | None,
    gate: Verdict | None = None,
) -> None:
    """A training's folder as it stands when the training has ended."""
    folder = data.models / training_id
    folder.mkdir(parents=True)
    figures: dict[str, object] | None = None
    if exit_code == 0:
        figures = {"last": {"loss": 0.5}, "evaluation": {"eval_rewards/accuracies": 0.75}}
    write_training(
        folder,
        TrainingManifest(
            training_id=training_id,
            dataset=dataset,
            dataset_sha256={},
            base_model="tiny",
            launcher="process",
            image="none",
            image_tag="none",
            arguments=[],
            started_at=NOW,
            finished_at=NOW,
            exit_code=exit_code,
            why=why,
            figures=figures,
            files={},
            gate=gate,
        ),
    )


def parsed_pairs(deployment: Deployment) -> list[Pair]:
    """Other tests of a shared deployment may have sent what is no pair."""
    found = []
    for message in deployment.records(deployment.names.topic(PAIRS)):
        with suppress(InvalidRecord):
            found.append(parse_pair(message.value()))
    return found
