"""Events as agents write them, and Hypothesis strategies that draw whole histories of runs."""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypedDict

from hypothesis import Phase, settings
from hypothesis import strategies as st

from schemas.errors import InvalidRecord
from schemas.events import parse_event
from schemas.rows import SettledBy
from schemas.settings import RUN_MAX_BYTES
from streams.pairing import Redact, Settlement, settle
from streams.redaction_program import NotRedacted
from streams.runs import AgentEvent, Run

JsonEvent = dict[str, Any]

# The same examples every time: no test may depend on luck.
MODEST = settings(max_examples=150, deadline=None, derandomize=True, database=None)
# For whole logs: to shrink one that fails would take minutes.
UNSHRUNK = settings(MODEST, phases=(Phase.explicit, Phase.generate))


class Rules(TypedDict):
    """What a partition is made with."""

    extended: bool
    run_max_bytes: int
    redact: Redact | None


def _less(texts: list[str]) -> list[str]:
    """Makes texts that differ equal, and prompts too."""
    return [text.translate({ord(character): "*" for character in "0123ab"}) for text in texts]


def _fails_at_times(texts: list[str]) -> list[str]:
    if sum(map(len, texts)) % 5 == 0:
        raise NotRedacted("a multiple of five")
    return texts


# Limits of a few events, of most of a run, and (mostly) none that matters.
RULES = st.builds(
    Rules,
    extended=st.booleans(),
    run_max_bytes=st.sampled_from([3_000, 9_000, *(RUN_MAX_BYTES,) * 6]),
    redact=st.sampled_from([None, None, None, None, _less, _fails_at_times]),
)

TIME = "2026-11-23T10:00:00Z"
PARTS = ("system_plist", "basic_env_plist", "special_egc_req_plist", "strat_code_req_plist")


def prompts(mark: str) -> dict[str, list[dict[str, str]]]:
    """Four parts of one message each; `mark` tells them from others."""
    return {
        part: [{"role": "system" if part == PARTS[0] else "user", "content": f"{mark} {part}"}]
        for part in PARTS
    }


def full(mark: str) -> list[dict[str, str]]:
    """The contract's FULL of `prompts(mark)`, written out."""
    return [
        {"role": "system", "content": f"{mark} system_plist"},
        {"role": "user", "content": f"{mark} basic_env_plist"},
        {"role": "user", "content": f"{mark} special_egc_req_plist"},
        {"role": "user", "content": f"{mark} strat_code_req_plist"},
    ]


def _event(type_: str, run_id: str, **more: Any) -> JsonEvent:
    return {"type": type_, "run_id": run_id, "time": TIME, **more}


def started(run_id: str = "r-1", **more: Any) -> JsonEvent:
    return _event(
        "run.started", run_id, **{"prompts": prompts("run"), "new_sp_egc_s": ["get()"], **more}
    )


def proposed(strategy_id: str = "s-1", *, run_id: str = "r-1", **more: Any) -> JsonEvent:
    return _event(
        "strategy.proposed",
        run_id,
        **{"strategy_id": strategy_id, "strategy": f"plan {strategy_id}", **more},
    )


def finished(run_id: str = "r-1", **more: Any) -> JsonEvent:
    return _event("run.finished", run_id, **more)


def expired(events: int, *, run_id: str = "r-1") -> JsonEvent:
    return _event("run.expired", run_id, events=events)


# What may happen to a piece of code, as fields of an attempt.
BROKEN = {"compiled": False, "ran": False, "score": 0}
CRASHED = {"compiled": True, "ran": False, "score": 0}
IDLE = {"compiled": True, "ran": True, "score": 0}
VOID = {"compiled": True, "ran": False, "score": 0, "fault": "infrastructure"}
VOID_SUCCESS = {"compiled": True, "ran": True, "score": 99.0, "fault": "cancelled"}


def ok(score: float) -> JsonEvent:
    return {"compiled": True, "ran": True, "score": score}


def attempted(
    number: int,
    code: str,
    what: JsonEvent,
    *,
    strategy_id: str = "s-1",
    run_id: str = "r-1",
    **more: Any,
) -> JsonEvent:
    fields = {"strategy_id": strategy_id, "attempt": number, "code": code, **what, **more}
    return _event("code.attempted", run_id, **fields)


def assigned(
    number: int, score: float, *, strategy_id: str = "s-1", run_id: str = "r-1", **more: Any
) -> JsonEvent:
    fields = {"strategy_id": strategy_id, "attempt": number, "score": score, **more}
    return _event("score.assigned", run_id, **fields)


def to_bytes(event: JsonEvent) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()


def fold(events: Iterable[JsonEvent], *, run_id: str = "r-1") -> Run:
    """A run that has taken in these events; those that it refused are refused."""
    run = Run(run_id)
    for event in events:
        parsed = parse_event(to_bytes(event))
        assert isinstance(parsed, AgentEvent)
        with suppress(InvalidRecord):
            run.fold(parsed)
    return run


def settled(
    events: Iterable[JsonEvent], *, extended: bool = False, settled_by: SettledBy = "finished"
) -> Settlement:
    return settle(fold(events), settled_by, extended=extended)


@dataclass(frozen=True)
class Record:
    """One record of the events topic."""

    key: bytes | None
    value: bytes | None
    offset: int

    @property
    def parts(self) -> tuple[bytes | None, bytes | None, int]:
        return self.key, self.value, self.offset


def to_log(events: Sequence[JsonEvent | bytes]) -> list[Record]:
    """Records at offsets with gaps, as retention and transactions leave them."""
    return [
        Record(b"r-1", event, 3 * place)
        if isinstance(event, bytes)
        else Record(str(event["run_id"]).encode(), to_bytes(event), 3 * place)
        for place, event in enumerate(events)
    ]


# --- Whole histories -----------------------------------------------------------------------------

# Few texts, ids and scores, so that equal ones meet often.
STRATEGY_IDS = ("s-1", "s-2", "s-3")
# Results of attempts: anything, or such as one of the judgements asks for.
MOODS = (
    (BROKEN, CRASHED, IDLE, ok(1.0), ok(1.0), ok(2.5), VOID, VOID_SUCCESS),
    (BROKEN, IDLE, ok(1.0), ok(2.5)),
    (BROKEN, IDLE, ok(1.0), ok(2.5)),
    (ok(1.0), ok(1.0), ok(2.5), VOID),
    (IDLE, BROKEN, VOID_SUCCESS),
    (BROKEN, CRASHED, VOID_SUCCESS),
    (VOID, VOID_SUCCESS),
)
OWN_PROMPTS = (None, None, None, None, None, None, prompts("run"), prompts("own"))
GETTERS: tuple[list[str] | None, ...] = (None, [], ["get()"], ["one()", "two()"])
# A part of a run that is seldom missing.
PRESENT = st.sampled_from((True,) * 15 + (False,))
# Attempts whose scores come later; seldom of one that is not there.
SCORED = st.sampled_from(((), (), (), (), (), (1,), (2, 1), (9,)))
BAD_VALUES = (b"", b"{", b"\xff", b'{"type": "run.started"}', b'{"type": "run.paused"}')


@st.composite
def distinct_events(draw: st.DrawFn, run_id: str = "r-1") -> list[JsonEvent]:
    """A run's own events, each once, none in conflict; parts may be missing."""
    events: list[JsonEvent] = []
    of_run = draw(st.sampled_from((*MOODS, *(None,) * 6)))
    if draw(PRESENT):
        start: JsonEvent = {"new_sp_egc_s": draw(st.sampled_from(GETTERS))}
        start |= {"agent_id": draw(st.sampled_from((None, "a-1"))), "policy_id": "base"}
        events.append(started(run_id, **start))
    for strategy_id in STRATEGY_IDS[: draw(st.sampled_from((2, 3, 2, 3, 1, 0)))]:
        if draw(PRESENT):
            own: JsonEvent = {"prompts": draw(st.sampled_from(OWN_PROMPTS))}
            own |= {"new_sp_egc_s": draw(st.sampled_from(GETTERS))}
            own |= {"strategy": draw(st.sampled_from(("plan a", "plan b", "plan c")))}
            events.append(proposed(strategy_id, run_id=run_id, **own))
        results = of_run or draw(st.sampled_from(MOODS))
        size = draw(st.sampled_from((3, 2, 4, 3, 2, 1, 0)))
        for number in draw(st.permutations(range(1, 6)))[:size]:
            code = draw(st.sampled_from(("x = 1", "x = 2", "x = 3", "")))
            what = draw(st.sampled_from(results))
            events.append(attempted(number, code, what, strategy_id=strategy_id, run_id=run_id))
        for number in draw(SCORED):
            score = draw(st.sampled_from((0, 1.0, 3.5)))
            events.append(assigned(number, score, strategy_id=strategy_id, run_id=run_id))
    return events


def conflicting(event: JsonEvent) -> JsonEvent:
    """Another event in the same place that says otherwise."""
    if event["type"] == "score.assigned":
        return {**event, "score": event["score"] + 1}
    changed = {"run.started": "task_id", "strategy.proposed": "strategy", "code.attempted": "code"}
    return {**event, changed[event["type"]]: "said otherwise"}


@st.composite
def one_run(draw: st.DrawFn, run_id: str) -> list[JsonEvent]:
    """A run as it may arrive: shuffled, with duplicates, conflicts, an end and latecomers.

    An expiry counts what stands before it or less, as workers write it.
    """
    own = draw(st.permutations(draw(distinct_events(run_id))))
    arrived: list[JsonEvent] = []
    count = 0
    for event in own:
        arrived.append(event)
        count += 1
        fate = draw(st.integers(0, 9))
        if fate == 0:
            again = draw(st.sampled_from(arrived))
            arrived.append({**again, "time": "2026-11-23T11:22:33Z", "event_id": "again"})
        elif fate == 1:
            other = conflicting(event)
            count += other not in arrived
            arrived.append(other)
        elif fate == 2 and 2 * count > len(own):
            arrived.append(expired(draw(st.integers((count + 1) // 2, count)), run_id=run_id))
    if draw(PRESENT):
        late = min(len(arrived), draw(st.sampled_from((0, 0, 0, 1, 2))))
        arrived.insert(len(arrived) - late, finished(run_id))
    return arrived


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """A partition's log: several runs interleaved, with records that are no events."""
    queues: list[list[JsonEvent | bytes]] = [
        list(draw(one_run(f"r-{number}"))) for number in range(1, draw(st.integers(1, 3)) + 1)
    ]
    queues.append(draw(st.lists(st.sampled_from(BAD_VALUES), max_size=2)))
    turns = [place for place, queue in enumerate(queues) for _ in queue]
    return to_log([queues[turn].pop(0) for turn in draw(st.permutations(turns))])
