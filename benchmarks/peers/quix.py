"""Quix Streams as its documentation has it: a streaming data frame with state and its changelog.

Runs in an environment of its own (quix-requirements.txt).
"""

import os
import tempfile

from quixstreams import Application, State

from benchmarks.peers.job import ROW_TOPICS, Ready, is_last, rows_of
from schemas.topics import RUN_EVENTS, Names

NAMES = Names(os.environ["PAIRSTREAM_TOPIC_PREFIX"])
EVENTS = "events"

ready = Ready()


def settle(value: bytes, state: State) -> list[tuple[str, bytes]]:
    """The rows of the run that this event ends; bytes are the quickest that its state takes."""
    ready()
    seen = state.get_bytes(EVENTS, b"") + value + b"\n"
    if not is_last(value):
        state.set_bytes(EVENTS, seen)
        return []
    state.delete(EVENTS)
    return [(topic.name, row) for topic, row in rows_of(seen.splitlines())]


def main() -> None:
    app = Application(
        os.environ["PAIRSTREAM_BOOTSTRAP_SERVERS"],
        consumer_group=f"{NAMES.prefix}quix",
        auto_offset_reset="earliest",
        state_dir=tempfile.mkdtemp(),
        loglevel="WARNING",
    )
    events = app.topic(NAMES.topic(RUN_EVENTS), value_deserializer="bytes")
    rows = app.dataframe(events).apply(settle, stateful=True, expand=True)
    for topic in ROW_TOPICS:
        target = app.topic(NAMES.topic(topic), value_serializer="bytes")
        named = topic.name
        mine = rows.filter(lambda row, named=named: row[0] == named)
        mine.apply(lambda row: row[1]).to_topic(target)
    app.run()


if __name__ == "__main__":
    main()
