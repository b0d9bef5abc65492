"""Pairs made as the worker makes them: from events, through the tables of pairing and garbling."""

import json
from itertools import count

from schemas.rows import Pair, encode
from streams.garbling import corrupt, garbled_pair
from streams.partition import Partition

TIME = "2026-11-23T10:00:00Z"


def run_events(run_id: str, *, mixed: bool) -> list[dict[str, object]]:
    """A run of one strategy: a failure and a success, or a success at once."""
    part = [{"role": "user", "content": f"Aufräumen — {run_id} 清理"}]
    names = ("system_plist", "basic_env_plist", "special_egc_req_plist", "strat_code_req_plist")
    head = {"run_id": run_id, "time": TIME}
    attempt = head | {"type": "code.attempted", "strategy_id": "s-1"}
    failed = attempt | {"attempt": 1, "code": f"fail({run_id!r})", "compiled": True, "ran": False}
    good = attempt | {"attempt": 2, "code": f"free({run_id!r})", "compiled": True, "ran": True}
    return [
        head | {"type": "run.started", "prompts": dict.fromkeys(names, part), "agent_id": "a"},
        head | {"type": "strategy.proposed", "strategy_id": "s-1", "strategy": f"Empty {run_id}."},
        *([failed | {"score": 0}] if mixed else []),
        good | {"score": 12.5},
        head | {"type": "run.finished"},
    ]


def pairs_of(run_id: str, *, mixed: bool) -> list[Pair]:
    """One pair of a mixed run; two, with a garbled side each, of one that worked first time."""
    offsets = count()
    records = [
        (run_id.encode(), json.dumps(event).encode(), next(offsets))
        for event in run_events(run_id, mixed=mixed)
    ]
    pairs = []
    for settlement in Partition(extended=False).apply(records, now_ms=0).settlements:
        pairs += settlement.pairs
        pairs += [garbled_pair(request, corrupt) for request in settlement.garble_requests]
    return pairs


def make_pairs(runs: int, *, mark: str = "r") -> list[Pair]:
    """Of so many runs, every third of which worked first time: 4 pairs of 3 runs."""
    return [
        pair
        for number in range(runs)
        for pair in pairs_of(f"{mark}-{number}", mixed=number % 3 != 0)
    ]


def line(pair: Pair) -> bytes:
    """As it stands in a dataset."""
    return encode(pair) + b"\n"
