"""Events for the benchmarks: recorded runs, tiled, every tile with other ids and other code."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import orjson

Event = tuple[bytes, bytes]

SYNTHETIC_RUNS = 100
SYNTHETIC_ATTEMPTS = 6


def tiled(recorded: Path | None, events: int) -> Iterator[Event]:
    """Key and value of about `events` events; whole runs only.

    Without a file of recorded runs, made-up ones of a similar size stand in.
    """
    runs = _recorded(recorded) if recorded else _synthetic()
    sent = 0
    for tile in itertools.count():
        for run in runs:
            if sent >= events:
                return
            sent += len(run)
            for event in run:
                run_id = f"{event['run_id']}-{tile}"
                value = event | {"run_id": run_id}
                if "code" in value:
                    value["code"] += f"\n# {run_id}"
                yield run_id.encode(), orjson.dumps(value)


def _recorded(path: Path) -> list[list[dict[str, str]]]:
    events = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    return [list(group) for _, group in itertools.groupby(events, lambda event: event["run_id"])]


def _synthetic() -> list[list[dict[str, str]]]:
    return [_synthetic_run(number) for number in range(SYNTHETIC_RUNS)]


def _synthetic_run(number: int) -> list[dict[str, str]]:
    base = {"run_id": f"run-{number}", "time": "2026-11-01T00:00:00Z"}
    message = [{"role": "user", "content": f"Task {number}: " + "free some space. " * 8}]
    parts = ("system_plist", "basic_env_plist", "special_egc_req_plist", "strat_code_req_plist")
    lines = "\n".join(f"value_{line} = {line} * {number}" for line in range(34))
    attempts = [
        {
            **base, "type": "code.attempted", "strategy_id": "s-1", "attempt": attempt,
            "code": f"{lines}\nprint({attempt})", "compiled": True, "ran": True,
            "score": float((number + attempt) % 3 == 0),
        }
        for attempt in range(1, SYNTHETIC_ATTEMPTS + 1)
    ]  # fmt: skip
    return [
        {**base, "type": "run.started", "prompts": {part: message for part in parts}},
        {**base, "type": "strategy.proposed", "strategy_id": "s-1", "strategy": "Look and remove."},
        *attempts,
        {**base, "type": "run.finished"},
    ]
