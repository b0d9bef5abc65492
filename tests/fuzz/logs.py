"""Logs in which fuzzed values stand among the other events of their runs, as they would arrive.

Each value gets a run of its own, whose other events are the golden ones: so what is taken in is
judged, and what is refused leaves a run that is judged without it.
"""

import json
import random
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from hypothesis import strategies as st

from streams.partition import Partition
from tests.fuzz.values import GOLDEN, RUN_ID, Json, origin
from tests.streams.histories import Record, finished, to_bytes

INPUTS_A_LOG = 8

ENDS = ("run.finished", "run.expired")
WRONG_KEYS = (b"", b"r-1", b"another", b"\xff\xfe", b"\x00settled")


@dataclass(frozen=True)
class Input:
    """A fuzzed value and how it is sent; `key` None: under the key of the run that it names."""

    value: bytes | None
    key: tuple[bytes | None] | None
    is_sent_twice: bool


def inputs(values: st.SearchStrategy[bytes | None]) -> st.SearchStrategy[Input]:
    keys = st.sampled_from((None,) * 7 + ((None,), *((key,) for key in WRONG_KEYS)))
    return st.builds(Input, values, keys, st.sampled_from((False,) * 7 + (True,)))


def records(sent: Input, run_id: str) -> list[tuple[bytes | None, bytes | None]]:
    """Key and value of the input and of its run's other events, but for the run's end."""
    value = _in_run(sent.value, run_id)
    key = _right_key(value, run_id) if sent.key is None else sent.key[0]
    others = [{**event, "run_id": run_id} for event in _companions(sent.value)]
    own = [(key, value)] * (2 if sent.is_sent_twice else 1)
    return own + [(run_id.encode(), to_bytes(event)) for event in others]


def _in_run(value: bytes | None, run_id: str) -> bytes | None:
    return value and value.replace(f'"{RUN_ID}"'.encode(), f'"{run_id}"'.encode())


def _companions(value: bytes | None) -> list[Json]:
    """The golden events in whose place the value does not stand."""
    others = [json.loads(text) for text in GOLDEN]
    return [
        event
        for event in others
        if event["type"] not in ENDS and origin(event).encode() not in (value or b"")
    ]


def _right_key(value: bytes | None, run_id: str) -> bytes:
    try:
        return str(json.loads(value or b"")["run_id"]).encode()
    except (ValueError, TypeError, KeyError, RecursionError):
        return run_id.encode()


def ended(log: list[Record]) -> list[Record]:
    """The log, and behind it the end of each run that it leaves open."""
    runs = Partition(extended=False)
    runs.apply([record.parts for record in log], now_ms=0)
    following = count(log[-1].offset + 1)
    return log + [
        Record(run_id.encode(), to_bytes(finished(run_id)), next(following)) for run_id in runs.open
    ]


class Log(NamedTuple):
    """A partition's log in which every run ends, and the inputs that stand in it."""

    records: list[Record]
    inputs: list[Input]


@st.composite
def logs(draw: st.DrawFn, values: st.SearchStrategy[bytes | None]) -> Log:
    """The runs of several inputs, interleaved."""
    several = draw(
        st.lists(inputs(values), min_size=INPUTS_A_LOG, max_size=INPUTS_A_LOG, unique=True)
    )
    mixed = [pair for place, sent in enumerate(several) for pair in records(sent, f"f-{place}")]
    random.Random(draw(st.integers(0, 2**32))).shuffle(mixed)
    log = [Record(key, value, 3 * place) for place, (key, value) in enumerate(mixed)]
    return Log(ended(log), several)
