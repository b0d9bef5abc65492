"""Events for the benchmarks: recorded runs, tiled, every tile with other ids and other code.

Pure: the same arguments give the same bytes.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

# Key and value.
Event = tuple[bytes, bytes]
RunEvents = list[Event]
Json = dict[str, Any]

SYNTHETIC_RUNS = 100
SYNTHETIC_ATTEMPTS = 6
# Scores of attempts, again and again.
MIXED, FIRST_TIME, NEVER = (1.0, 0.0, 0.0), (1.0,), (0.0,)

PARTS = ("system_plist", "basic_env_plist", "special_egc_req_plist", "strat_code_req_plist")


@dataclass(frozen=True)
class Load:
    """What is fed in: about `events` events, whole runs only, of `interleaved` runs at a time.

    Without a file of recorded runs, made-up ones of a similar size stand in.
    """

    events: int
    recorded: Path | None = None
    interleaved: int = 1

    def __iter__(self) -> Iterator[Event]:
        return interleave(tiles(self.recorded, self.events), self.interleaved)

    @property
    def name(self) -> str:
        kind = "recorded" if self.recorded else "synthetic"
        width = f", {self.interleaved} runs interleaved" if self.interleaved > 1 else ""
        return f"{kind}{width}"


def tiles(recorded: Path | None, events: int) -> Iterator[RunEvents]:
    """Runs, until they make up so many events."""
    templates = _recorded(recorded) if recorded else _synthetic()
    made = 0
    for tile in itertools.count():
        for run in templates:
            if made >= events:
                return
            made += len(run)
            yield _tile(run, tile)


def interleave(runs: Iterable[RunEvents], width: int) -> Iterator[Event]:
    """One event of each of `width` runs in turn; another run takes the place of one that ended."""
    waiting = iter(runs)
    turns = deque(iter(run) for run in itertools.islice(waiting, width))
    while turns:
        run = turns.popleft()
        event = next(run, None)
        if event is not None:
            yield event
            turns.append(run)
        elif (fresh := next(waiting, None)) is not None:
            turns.appendleft(iter(fresh))


def one_run(run_id: str, attempts: int) -> RunEvents:
    """A made-up run of so many attempts, a third of which succeed."""
    return _encoded(made_up(run_id, attempts))


def _tile(run: list[Json], tile: int) -> RunEvents:
    varied = []
    for event in run:
        value = event | {"run_id": f"{event['run_id']}-{tile}"}
        if "code" in value:
            value["code"] += f"\n# {value['run_id']}"
        varied.append(value)
    return _encoded(varied)


def _encoded(run: list[Json]) -> RunEvents:
    return [(event["run_id"].encode(), orjson.dumps(event)) for event in run]


def _recorded(path: Path) -> list[list[Json]]:
    events = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    return [list(group) for _, group in itertools.groupby(events, lambda event: event["run_id"])]


def _synthetic() -> list[list[Json]]:
    """As many work first time, and as many never, as of recorded ones."""
    patterns = {0: FIRST_TIME, 1: FIRST_TIME, 2: FIRST_TIME, 3: NEVER}
    return [
        made_up(f"run-{number}", SYNTHETIC_ATTEMPTS, patterns.get(number % 20, MIXED))
        for number in range(SYNTHETIC_RUNS)
    ]


def made_up(run_id: str, attempts: int, scores: Sequence[float] = MIXED) -> list[Json]:
    """One strategy; the attempts' scores go round."""
    base = {"run_id": run_id, "time": "2026-11-01T00:00:00Z"}
    message = [{"role": "user", "content": f"Task of {run_id}: " + "free some space. " * 8}]
    lines = "\n".join(f"value_{line} = {line} * size_of({run_id!r})" for line in range(22))
    tried = [
        {
            **base, "type": "code.attempted", "strategy_id": "s-1", "attempt": attempt,
            "code": f"{lines}\nprint({attempt})", "compiled": True, "ran": True,
            "score": scores[attempt % len(scores)],
        }
        for attempt in range(1, attempts + 1)
    ]  # fmt: skip
    return [
        {**base, "type": "run.started", "prompts": dict.fromkeys(PARTS, message)},
        {**base, "type": "strategy.proposed", "strategy_id": "s-1", "strategy": "Look and remove."},
        *tried,
        {**base, "type": "run.finished"},
    ]
