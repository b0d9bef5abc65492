"""What of Faust is left alone: its web server, leader, disk, pickles, and the other driver."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiokafka.codec
import faust
import pytest
from aiokafka.errors import UnsupportedCodecError
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.serializers import codecs
from faust.transport.drivers import aiokafka as driver
from faust.transport.drivers import confluent

from schemas.errors import PairstreamError
from streams.faust_app import _App
from streams.self_check import check_installation
from streams.transport import BatchConsumer
from tests.faust.memory import OURS, PLACE, STOCK, Memory, World, in_loop
from tests.faust.worker import Worker, worker_parts

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@pytest.mark.parametrize(
    ("setting", "stock", "ours"),
    [
        # Serves the tables' content to the network, without a password.
        ("web_enabled", True, False),
        # A topic and an assignment more, which can fail at the start.
        ("topic_disable_leader", False, True),
        # Makes topics with partitions and replicas of its own choice.
        ("topic_allow_declare", True, False),
        # Copies of a state that Faust's recovery is not asked for.
        ("table_standby_replicas", 1, 0),
        # Of records: a fetch holds at most one batch.
        ("broker_max_poll_records", None, 2000),
    ],
)
def test_setting_that_stock_faust_has_otherwise(setting: str, stock: object, ours: object) -> None:
    parts, _ = worker_parts()

    assert getattr(faust.App("app", broker="kafka://127.0.0.1:1").conf, setting) == stock
    assert getattr(parts.faust.conf, setting) == ours


@pytest.mark.parametrize(("session", "heartbeat"), [(6.0, 1.2), (15.0, 3.0), (600.0, 3.0)])
def test_a_long_session_delays_no_rebalance(session: float, heartbeat: float) -> None:
    parts, _ = worker_parts(session_timeout_seconds=session)

    assert parts.faust.conf.broker_heartbeat_interval == pytest.approx(heartbeat)


def test_nothing_is_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parts, _ = worker_parts()
    parts.faust._create_directories()
    assert str(parts.faust.conf.store).startswith("memory:")
    assert list(tmp_path.iterdir()) == []

    faust.App("app", broker="kafka://127.0.0.1:1")._create_directories()
    assert [each.name for each in tmp_path.iterdir()] == ["app-data"]


class Payload:
    """Counts how often it was made from a pickle."""

    made = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return Payload._make, ()

    @staticmethod
    def _make() -> str:
        Payload.made += 1
        return "made"


@pytest.mark.filterwarnings("ignore:The pickle codec")
@in_loop
async def test_pickle_in_a_record_is_not_opened() -> None:
    value = codecs.dumps("pickle", Payload())
    async with World(STOCK, Memory([0], values=[value])) as stock:
        made = Payload.made
        stock.run(stock.collect(stock.stream(value_type=None, value_serializer="pickle")))
        await stock.start()
        await stock.given(1)
        assert Payload.made == made + 1

    async with Worker(Memory([0], values=[value])) as worker:
        made = Payload.made
        await worker.start_settling()
        [letter] = await worker.sent(1)
        assert (letter.topic, letter.value, Payload.made) == (worker.letters, value, made)


@pytest.mark.parametrize("codec", CODECS)
def test_records_of_every_codec_are_read_or_the_worker_does_not_start(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _read(_batch(CODECS[codec])) == [b"event"]

    if codec == "gzip":
        return
    batch = _batch(CODECS[codec])
    monkeypatch.setattr(aiokafka.codec, "cramjam", None)
    with pytest.raises(UnsupportedCodecError):  # In the middle of the work, of stock Faust.
        _read(batch)
    monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(PairstreamError, match="cramjam"):
        check_installation()


def _batch(codec: int) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 16)
    builder.append(0, 1_000, b"r-1", b"event", [])
    return bytes(builder.build())


def _read(batch: bytes) -> list[bytes]:
    return [record.value for record in MemoryRecords(batch).next_batch()]


@in_loop
async def test_driver_whose_records_faust_skips_is_not_used() -> None:
    async with World(STOCK, Memory([])) as stock:
        await stock.start_collecting()
        record = SimpleNamespace(
            topic=lambda: PLACE.topic,
            partition=lambda: PLACE.partition,
            offset=lambda: 0,
            timestamp=lambda: (1, 1_000),
            key=lambda: b"r-1",
            value=lambda: b"event",
        )
        message = confluent.Consumer._to_message(stock.consumer, PLACE, record)
        assert message.generation_id is None
        await stock.app.topics.on_message(message)
        assert await stock.given_up_to(1) == [1]
        # It finds out about records that do not get through, by its own account.
        with pytest.raises(AttributeError):
            confluent.Consumer.verify_event_path(stock.consumer, 0.0, PLACE)

    async with Worker(Memory([])) as worker:
        assert isinstance(worker.app.transport, driver.Transport)
        assert issubclass(worker.app.transport.Consumer, BatchConsumer)
        assert {url.scheme for url in worker.app.conf.broker} == {"kafka"}


class BreakingOff:
    """aiokafka's consumer when a fetch waits for its next try."""

    def __init__(self) -> None:
        self.is_closed = False
        self._client = self

    async def stop(self) -> None:
        raise asyncio.CancelledError

    async def close(self) -> None:
        self.is_closed = True


@in_loop
async def test_fetch_that_waits_for_its_next_try_does_not_break_off_a_stop() -> None:
    async with World(STOCK, Memory([])) as world:
        thread = world.consumer._new_consumer_thread()
        thread._consumer = BreakingOff()
        with pytest.raises(asyncio.CancelledError):
            await thread.on_thread_stop()

    async with World(OURS, Memory([])) as world:
        thread = world.consumer._new_consumer_thread()
        thread._consumer = BreakingOff()
        await thread.on_thread_stop()
        assert thread._consumer.is_closed


def test_what_faust_says_of_the_app_does_not_pass_for_ours() -> None:
    """`set_up_logs` holds the loggers below `faust` to warnings."""
    assert _App.logger.name.startswith("faust.")
