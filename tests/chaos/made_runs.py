"""What agents send: whole synthetic runs of every sort, interleaved, and bad records between them.

A function of the seed and the agent's number.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from tests.streams.histories import (
    BROKEN,
    CRASHED,
    IDLE,
    VOID,
    VOID_SUCCESS,
    attempted,
    conflicting,
    finished,
    ok,
    proposed,
    started,
)

Event = dict[str, Any]

RUNS_AT_ONCE = 12
BAD_SHARE = 0.02
UNKNOWN_SHARE = 0.01
AGAIN_SHARE = 0.05

# Results of a strategy's attempts, by the sort of run.
SORTS: dict[str, tuple[Event, ...]] = {
    "mixed": (CRASHED, BROKEN, IDLE, ok(1.0), ok(2.5), ok(2.5), VOID_SUCCESS),
    "first_time": (ok(1.0), ok(2.5), ok(4.0)),
    "failing": (CRASHED, IDLE, BROKEN),
    "broken": (BROKEN, CRASHED),
    "void": (VOID, VOID_SUCCESS),
}
WEIGHTS = (6, 4, 2, 1, 1)

# What becomes of a run besides; most are plain.
TURNS = ("plain", "shuffled", "conflict", "late", "abandoned")
TURN_WEIGHTS = (12, 3, 2, 1, 1)


@dataclass(frozen=True)
class Sending:
    """A record for the events topic; `is_bad`: no event, so it must become a dead letter."""

    key: bytes | None
    value: bytes | None
    is_bad: bool = False


def sendings(seed: int, agent: int) -> Iterator[Sending]:
    """Without an end; the records of one run stand in its order, several runs interleaved."""
    rng = random.Random(f"{seed}/{agent}")
    queues: list[list[Sending]] = []
    number = 0
    while True:
        while len(queues) < RUNS_AT_ONCE:
            number += 1
            queues.append(_run(f"run-{seed}-{agent}-{number}", rng))
        yield from _between(rng)
        place = rng.randrange(len(queues))
        yield queues[place].pop(0)
        if not queues[place]:
            queues.pop(place)


def _run(run_id: str, rng: random.Random) -> list[Sending]:
    sort = rng.choices(tuple(SORTS), WEIGHTS)[0]
    turn = rng.choices(TURNS, TURN_WEIGHTS)[0]
    events = [started(run_id, agent_id=f"agent-{sort}", policy_id="base")]
    for strategy in range(1, rng.randint(1, 3) + 1):
        events += _strategy(run_id, f"s-{strategy}", SORTS[sort], rng)
    if turn == "shuffled":
        rng.shuffle(events)
    if turn == "conflict":
        events.append(conflicting(rng.choice(events)))
    if turn != "abandoned":
        events.append(finished(run_id))
    if turn == "late":
        events.append(attempted(99, "too late", ok(1.0), run_id=run_id))
    return list(_with_repeats(events, rng))


def _strategy(
    run_id: str, strategy_id: str, results: tuple[Event, ...], rng: random.Random
) -> list[Event]:
    events = [proposed(strategy_id, run_id=run_id, strategy=f"plan {rng.randrange(9)} é")]
    for number in range(1, rng.randint(1, 4) + 1):
        code = f"free({rng.randrange(6)})  # {'x' * rng.randrange(400)}"
        result = rng.choice(results)
        events.append(attempted(number, code, result, strategy_id=strategy_id, run_id=run_id))
    return events


def _with_repeats(events: list[Event], rng: random.Random) -> Iterator[Sending]:
    """An agent that had no answer sends again, with another time."""
    for event in events:
        key = event["run_id"].encode()
        yield Sending(key, orjson.dumps(event))
        if rng.random() < AGAIN_SHARE:
            yield Sending(key, orjson.dumps({**event, "time": "2026-11-23T11:22:33Z"}))


def _between(rng: random.Random) -> Iterator[Sending]:
    draw = rng.random()
    if draw < BAD_SHARE:
        yield rng.choice(_BAD)
    elif draw < BAD_SHARE + UNKNOWN_SHARE:
        yield Sending(b"someone", orjson.dumps({"type": "run.paused", "run_id": "someone"}))


_BAD = (
    Sending(b"bad", b"\xff\xfe no text", True),
    Sending(b"bad", b"{no json", True),
    Sending(b"bad", b"", True),
    Sending(b"bad", None, True),
    Sending(None, orjson.dumps(finished("bad")), True),
    Sending(b"another", orjson.dumps(finished("bad")), True),
    Sending(b"bad", orjson.dumps({**finished("bad"), "time": "yesterday"}), True),
    Sending(b"bad", orjson.dumps(attempted(0, "x", ok(1.0), run_id="bad")), True),
    Sending(b"bad", orjson.dumps(attempted(1, "x", {**BROKEN, "score": 1}, run_id="bad")), True),
)
