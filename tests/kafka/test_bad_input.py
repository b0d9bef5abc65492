"""What producers may send: batches of every codec, nulls and empty bytes."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from schemas import dead_letters
from schemas.clients import ClientConfig, connection
from schemas.topics import GARBLE_REQUESTS, PAIRS, RUN_EVENTS, Topic
from tests.apache_kafka import ApacheKafka
from tests.conftest import Pairstream
from tests.kafka.services import Deployment, Record
from tests.kafka.test_worker import await_settled, runs
from tests.streams.histories import (
    started,
    to_bytes,
)

pytestmark = pytest.mark.kafka

# By the number that a batch in the log names it with.
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

UNCOMPRESSED: ClientConfig = {"compression.type": "none", "message.max.bytes": 4_000_000}


# --- Codecs ------------------------------------------------------------------------------------


def test_events_that_producers_compressed_by_any_codec_are_settled(
    deployment: Deployment, apache_kafka: ApacheKafka
) -> None:
    with deployment.running("worker") as worker:
        for number, codec in enumerate(CODECS):
            deployment.send(runs(20 * number, 20), properties={"compression.type": codec})
        await_settled(deployment, worker, 20 * len(CODECS))

    assert _stored_codecs(apache_kafka, deployment, RUN_EVENTS) == set(CODECS)
    assert len({row["pair_id"] for row in deployment.rows(PAIRS)}) == 20 * len(CODECS)


def test_events_and_pairs_that_brokers_compressed_by_any_codec_reach_the_dataset(
    deployment: Deployment, apache_kafka: ApacheKafka, pairstream: Pairstream
) -> None:
    count = 0
    with deployment.running("worker") as worker:
        for number, codec in enumerate(CODECS, 1):
            _set_codec(deployment, "uncompressed" if codec == "none" else codec)
            # A broker tells a new setting a little before it follows it.
            while not all(
                len(_stored_codecs(apache_kafka, deployment, topic)) == number
                for topic in (RUN_EVENTS, PAIRS)
            ):
                deployment.send(runs(count, 20), properties=UNCOMPRESSED)
                count += 20
                await_settled(deployment, worker, count)

    done = {"PAIRSTREAM_TRIGGER_PAIRS": str(count), "PAIRSTREAM_LAUNCHER": "none"}
    pairstream("trainer", "--once", env={**deployment.environment, **done})
    assert len(deployment.pairs_in_datasets()) == count


def _set_codec(deployment: Deployment, codec: str) -> None:
    entry = ConfigEntry("compression.type", codec, incremental_operation=AlterConfigOpType.SET)
    names = [deployment.names.topic(topic) for topic in (RUN_EVENTS, PAIRS)]
    resources = [ConfigResource("topic", name, incremental_configs=[entry]) for name in names]
    admin = AdminClient(connection(deployment.settings))
    for altered in admin.incremental_alter_configs(resources).values():
        altered.result()


def _stored_codecs(kafka: ApacheKafka, deployment: Deployment, topic: Topic) -> set[str]:
    """The codecs of a topic's batches as they lie on the broker's disk."""
    folders = kafka.folder.glob(f"log/{deployment.names.topic(topic)}-*")
    return {
        CODECS[attributes & 0b111]
        for folder in folders
        for segment in folder.glob("*.log")
        for attributes in _attributes(segment)
    }


def _attributes(segment: Path) -> Iterator[int]:
    """Of each batch: its header is offset, length, epoch, version, checksum, attributes, ..."""
    data, place = segment.read_bytes(), 0
    while place < len(data):
        _, length, _, version, _, attributes = struct.unpack_from(">qiibIh", data, place)
        assert version == 2
        yield attributes
        place += 12 + length


# --- Nulls and empty bytes ---------------------------------------------------------------------

EVENT = to_bytes(started("r"))

ODD: list[Record] = [
    (b"r", None),
    (b"r", b""),
    (None, EVENT),
    (b"", EVENT),
    (None, None),
    (b"", None),
    (None, b""),
    (b"", b""),
]


def test_tombstones_and_null_keys_are_dead_letters_as_they_came_and_delay_nothing(
    deployment: Deployment, pairstream: Pairstream
) -> None:
    consumed = (RUN_EVENTS, GARBLE_REQUESTS, PAIRS)
    for topic in consumed:
        deployment.send(ODD, topic)
    deployment.send(runs(0, 20))
    deployment.send(ODD)

    with deployment.running("worker") as worker:
        await_settled(deployment, worker, 20)
        worker.wait_until(lambda: deployment.lag() == 0, "the end of the lag")
        assert worker.stop() == 0, worker.log
    done = {"PAIRSTREAM_TRIGGER_PAIRS": "20", "PAIRSTREAM_LAUNCHER": "none"}
    pairstream("trainer", "--once", env={**deployment.environment, **done})

    assert len(deployment.pairs_in_datasets()) == 20
    for topic, times in zip(consumed, (2, 1, 1), strict=True):
        letters = deployment.dead_letters(topic)
        found = [(letter.key(), letter.value()) for letter in letters]
        assert sorted(found, key=repr) == sorted(ODD * times, key=repr), topic.name
        reasons = {dead_letters.read(each.headers(), dead_letters.REASON) for each in letters}
        assert reasons == {"invalid_event" if topic is RUN_EVENTS else "invalid_row"}
