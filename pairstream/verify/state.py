"""The worker's state against the events: what a worker would start over with on an empty machine.

Memory: keys and digests of one partition's state.
"""

import hashlib
from collections.abc import Iterable

from confluent_kafka import Message

from pairstream.verify.log import OpenRun, PartitionLog
from pairstream.verify.report import Check

MARKER = "settled"

# By run: a digest of each event by its offset, and of its marker, once it is settled.
State = dict[str, dict[str, bytes]]


def read_state(messages: Iterable[Message]) -> State:
    """What a changelog's records leave standing."""
    state: State = {}
    for message in messages:
        run_id, _, rest = (message.key() or b"").decode().rpartition("\x00")
        value = message.value()
        if value is not None:
            state.setdefault(run_id, {})[rest] = _digest(value)
        elif rest in state.get(run_id, {}):
            del state[run_id][rest]
    return state


def compare_state(check: Check, log: PartitionLog, state: State, *, done: int, at: str) -> None:
    """Runs whose newest event lies before `done`, where the workers have got to.

    `at`: topic and partition of the events.
    """
    for run_id, run in log.open.items():
        if run.is_whole and run.last_offset < done:
            _compare_open(check, run_id, run, state.get(run_id, {}), at)
    for run_id, ended in log.ended.items():
        kept = state.get(run_id, {})
        if ended.is_whole and ended.offset < done and kept and MARKER not in kept:
            what = "a settled run that the state takes for open"
            check.found(what, id=run_id, at=f"{at}/{ended.offset}")


def _compare_open(check: Check, run_id: str, run: OpenRun, kept: dict[str, bytes], at: str) -> None:
    if MARKER in kept:
        check.found("an open run that the state takes for settled", id=run_id)
    expected = {str(offset): _digest(value) for offset, value in run.kept}
    for offset, digest in expected.items():
        check.checked += 1
        if offset not in kept:
            what = "an event of an open run that the state has not"
            check.found(what, id=run_id, at=f"{at}/{offset}")
        elif kept[offset] != digest:
            what = "an event of an open run that the state has otherwise"
            check.found(what, id=run_id, at=f"{at}/{offset}")
    for offset in kept.keys() - expected.keys() - {MARKER}:
        check.found("the state has an event that the log has not", id=run_id, at=f"{at}/{offset}")


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()[:16]
