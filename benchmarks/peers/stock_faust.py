"""faust-streaming as its documentation has it: an agent, a table with its changelog, raw topics."""

import os
import tempfile

import faust

from benchmarks.peers.job import ROW_TOPICS, Ready, is_last, rows_of
from schemas.topics import RUN_EVENTS, Names

SERVERS = os.environ["PAIRSTREAM_BOOTSTRAP_SERVERS"]
NAMES = Names(os.environ["PAIRSTREAM_TOPIC_PREFIX"])
PARTITIONS = 4

app = faust.App(
    f"{NAMES.prefix}stock-faust",
    broker=[f"kafka://{server}" for server in SERVERS.split(",")],
    store="memory://",
    datadir=tempfile.mkdtemp(),
    topic_partitions=PARTITIONS,
    topic_replication_factor=1,
    consumer_auto_offset_reset="earliest",
    producer_linger=0.005,
    producer_max_request_size=8 * 1024 * 1024,
    web_enabled=False,
)


def raw(name: str) -> faust.TopicT:
    return app.topic(
        name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )


events = raw(NAMES.topic(RUN_EVENTS))
row_topics = {topic: raw(NAMES.topic(topic)) for topic in ROW_TOPICS}
runs = app.Table("runs", default=list, partitions=PARTITIONS)
ready = Ready()


@app.agent(events)
async def settle_runs(stream: faust.StreamT[bytes]) -> None:
    async for key, value in stream.items():
        ready()
        run_id = key.decode()
        seen = [*runs[run_id], value.decode()]
        if not is_last(value):
            runs[run_id] = seen
            continue
        for topic, row in rows_of(text.encode() for text in seen):
            await row_topics[topic].send(key=key, value=row)
        del runs[run_id]


if __name__ == "__main__":
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()
