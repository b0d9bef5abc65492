"""Faust's app with our transport and table manager, by the settings that our guarantees need."""

import logging

import faust
from yarl import URL

from schemas.settings import WorkerSettings
from schemas.topics import GARBLE_REQUESTS, Names
from streams.batch_traces import BatchTraces
from streams.credentials import credentials
from streams.table import RunTableManager
from streams.transport import batching_transport

# Batches that wait in memory behind those in flight.
BUFFERED_BATCHES = 8

# Records in a batch where a program redacts: it may take a second for each that ends a run, and a
# rebalance waits for the batches in hand, but not for longer than its limit.
ASKED_AT_ONCE = 10

FETCH_BYTES = 4 * 1024 * 1024

# Between heartbeats nobody learns that a worker has joined, so a long session must not stretch it.
HEARTBEAT_SECONDS = 3.0


class _App(faust.App):
    # Else it would be this module's, and Faust's own lines would pass for ours.
    logger = logging.getLogger("faust.pairstream")

    def _create_directories(self) -> None:
        """None: all that a worker keeps is in Kafka, and its disk may be read-only."""


def faust_app(
    settings: WorkerSettings, traces: BatchTraces, partitions: int, garbled_at_once: int | None
) -> faust.App:
    names = Names(settings.topic_prefix)
    urls = [URL(f"kafka://{server.strip()}") for server in settings.bootstrap_servers.split(",")]
    app = _App(
        names.worker_app,
        broker=urls,
        broker_credentials=credentials(settings),
        TableManager=RunTableManager,
        store="memory://",
        processing_guarantee="at_least_once",
        topic_partitions=partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
        broker_max_poll_records=settings.batch_records,
        consumer_group_instance_id=settings.group_instance_id,
        broker_session_timeout=settings.session_timeout_seconds,
        broker_heartbeat_interval=min(HEARTBEAT_SECONDS, settings.session_timeout_seconds / 5),
        broker_request_timeout=max(30.0, settings.session_timeout_seconds + 5),
        broker_commit_interval=1.0,
        stream_buffer_maxsize=BUFFERED_BATCHES,
        stream_wait_empty=True,
        table_standby_replicas=0,
        worker_redirect_stdouts=False,
    )
    at_once = ASKED_AT_ONCE if settings.redact_command else settings.batch_records
    slow = {}
    if garbled_at_once is not None:
        slow[names.topic(GARBLE_REQUESTS)] = garbled_at_once
    app.transport = batching_transport(
        urls,
        app,
        batch_records=min(at_once, settings.batch_records),
        slow=slow,
        committed=traces.committed,
    )
    return app
