"""A publisher without a broker: it neither waits nor raises, and it counts."""

import logging
import threading
from queue import SimpleQueue
from typing import Any

import pytest
from client_support import NO_BROKER, PROMPTS
from confluent_kafka import KafkaError, Producer

from pairstream_client import Publisher, RunRecorder, Stats
from pairstream_client import publisher as publisher_module
from pairstream_client import sender as sender_module
from pairstream_client.complaints import SILENCE_SECONDS, Complaints

FREED_SECONDS = 60.0


def _record(publisher: Publisher, attempts: int) -> None:
    """Record a run of `attempts` + 3 events."""
    with RunRecorder(PROMPTS, publisher=publisher) as run:
        strategy = run.propose("...")
        for number in range(attempts):
            strategy.attempt(f"print({number})", compiled=True, ran=True, score=1.0)


def _lines(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    ours = [r.getMessage() for r in caplog.records if r.name == "pairstream_client"]
    return [line for line in ours if words in line]


def test_without_a_broker_events_wait_and_close_says_how_many(
    caplog: pytest.LogCaptureFixture,
) -> None:
    publisher = Publisher("127.0.0.1:2")

    _record(publisher, attempts=997)

    assert publisher.stats == Stats(queued=1000)
    assert publisher.close(0.2) == 1000
    assert publisher.stats == Stats(failed=1000)
    assert len(_lines(caplog, "closed before 1000 events were acknowledged")) == 1
    assert len(_lines(caplog, "127.0.0.1:2/bootstrap")) == 1


def test_a_full_queue_drops_and_counts(caplog: pytest.LogCaptureFixture) -> None:
    publisher = Publisher(NO_BROKER, max_queued_events=5)

    _record(publisher, attempts=17)

    assert publisher.stats == Stats(queued=5, dropped=15)
    assert publisher.close(0) == 5
    assert len(_lines(caplog, "queue of events to be sent is full")) == 1


def test_an_event_that_is_too_long_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    publisher = Publisher(NO_BROKER)
    strategy = RunRecorder(PROMPTS, publisher=publisher).propose("...")

    strategy.attempt("#" * 1_000_000, compiled=True, ran=True)

    assert publisher.stats == Stats(queued=2, dropped=1)
    assert publisher.close(0) == 2
    assert len(_lines(caplog, "Message size too large")) == 1


def test_a_closed_publisher_drops() -> None:
    publisher = Publisher(NO_BROKER)
    assert publisher.close(0) == 0

    _record(publisher, attempts=0)

    assert publisher.stats == Stats(dropped=3)
    assert publisher.close(0) == 0


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"bootstrap_servers": [NO_BROKER]}, "bootstrap_servers"),
        ({"topic_prefix": "two words"}, "topic_prefix"),
        ({"topic_prefix": 7}, "topic_prefix"),
        ({"max_queued_events": 0}, "max_queued_events"),
        ({"max_queued_events": "many"}, "max_queued_events"),
        ({"config": {"no.such.property": 1}}, "no.such.property"),
        ({"config": {"security.protocol": "SSL", "ssl.ca.location": "none"}}, "ssl.ca.location"),
        ({"config": 7}, "mapping"),
        ({"spool": 7}, "spool"),
        ({"spool": "spool", "spool_max_bytes": -1}, "spool_max_bytes"),
    ],
    ids=repr,
)
def test_wrong_settings_are_said_and_every_event_is_dropped(
    given: dict[str, Any], named: str, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher(**given)

    _record(publisher, attempts=0)

    assert publisher.stats == Stats(dropped=3)
    assert publisher.close(0) == 0
    assert len(_lines(caplog, "the publisher cannot work")) == 1
    assert len(_lines(caplog, named)) == 1


class Seen:
    """What a test sees of one producer, without keeping it alive."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self.events = 0
        self.freed_by: SimpleQueue[str] = SimpleQueue()

    def fail_for_good(self) -> None:
        """Say what librdkafka says of errors that it cannot go on after."""
        self._config["error_cb"](KafkaError(KafkaError._FATAL, "out of sequence", fatal=True))


@pytest.fixture
def producers(monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    all_seen: list[Seen] = []

    class SeenProducer(Producer):  # type: ignore[misc]
        def __init__(self, config: dict[str, Any]) -> None:
            super().__init__(config)
            self.seen = Seen(config)
            all_seen.append(self.seen)

        def produce(self, *args: Any, **kwargs: Any) -> None:
            super().produce(*args, **kwargs)
            self.seen.events += 1

        def __del__(self) -> None:
            self.seen.freed_by.put(threading.current_thread().name)

    monkeypatch.setattr(sender_module, "Producer", SeenProducer)
    return all_seen


def test_a_producer_that_failed_for_good_is_replaced(
    producers: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "RESTART_SECONDS", 0)
    publisher = Publisher(NO_BROKER)
    _record(publisher, attempts=0)

    producers[0].fail_for_good()
    _record(publisher, attempts=0)

    assert [producer.events for producer in producers] == [3, 3]
    assert publisher.stats.dropped == 0
    publisher.close(0)


def test_producers_are_not_replaced_again_and_again(
    producers: list[Seen], caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher(NO_BROKER)
    _record(publisher, attempts=0)

    producers[0].fail_for_good()
    _record(publisher, attempts=0)

    assert len(producers) == 1
    assert publisher.stats.dropped == 3
    assert len(_lines(caplog, "out of sequence")) == 1
    assert len(_lines(caplog, "failed for good")) == 1
    publisher.close(0)


def test_no_agent_s_thread_frees_a_producer(
    producers: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "RESTART_SECONDS", 0)
    publisher = Publisher(NO_BROKER)
    _record(publisher, attempts=0)
    producers[0].fail_for_good()
    _record(publisher, attempts=0)
    publisher.close(0)

    threads = {producer.freed_by.get(timeout=FREED_SECONDS) for producer in producers}
    assert threads == {sender_module.THREAD_NAME}
    assert publisher.stats == Stats(failed=6)


def test_a_complaint_is_repeated_only_after_a_silence(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    complaints = Complaints(clock=lambda: now)

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            complaints.say("full", "the queue is full")
        complaints.say("nan", "the score is NaN")
        now = SILENCE_SECONDS
        complaints.say("full", "the queue is full")

    assert [record.getMessage() for record in caplog.records] == [
        "pairstream_client: the queue is full",
        "pairstream_client: the score is NaN",
        "pairstream_client: the queue is full (2 times more since it was said)",
    ]
