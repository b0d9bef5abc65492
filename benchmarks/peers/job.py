"""The job that every peer does, by the same pure functions, so that frameworks are compared."""

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime

from schemas.events import RunFinished, parse_event
from schemas.rows import encode
from schemas.topics import PAIRS, RUN_OUTCOMES, SCORED_ROWS, Topic
from streams.garbling import corrupt, garbled_pair
from streams.pairing import settle
from streams.runs import AgentEvent, Run

ROW_TOPICS = (SCORED_ROWS, PAIRS, RUN_OUTCOMES)

READY = "ready"

# By its number: Faust puts something else in the place of `sys.stderr`.
STANDARD_ERROR = 2


def is_last(value: bytes) -> bool:
    """Whether an event ends its run; reads and validates it, as whoever takes it in has to."""
    return isinstance(parse_event(value), RunFinished)


def rows_of(values: Iterable[bytes]) -> list[tuple[Topic, bytes]]:
    """The rows of a finished run, its outcome last; garbled sides are made at once."""
    events = [event for value in values if (event := parse_event(value)) is not None]
    run = Run(events[0].run_id)
    for event in events:
        if isinstance(event, AgentEvent):
            run.fold(event)
    settlement = settle(run, "finished", extended=False)
    pairs = settlement.pairs + [garbled_pair(each, corrupt) for each in settlement.garble_requests]
    return [
        *((SCORED_ROWS, encode(row)) for row in settlement.scored_rows),
        *((PAIRS, encode(pair)) for pair in pairs),
        (RUN_OUTCOMES, encode(settlement.outcome)),
    ]


class Ready:
    """Says once, at the first event, that a peer has begun: no start-up counts against it."""

    def __init__(self) -> None:
        self._is_said = False

    def __call__(self) -> None:
        if not self._is_said:
            self._is_said = True
            line = json.dumps({"event": READY, "timestamp": datetime.now(UTC).isoformat()})
            os.write(STANDARD_ERROR, f"{line}\n".encode())
