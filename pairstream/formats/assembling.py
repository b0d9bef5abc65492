"""From a recorded run to its events. Pure; the rules are those of docs/formats.md.

Nothing is invented: code that ran and was judged by nobody gives no event. Ids and numbers are
functions of the run alone, so the same run twice gives the same events.
"""

from collections.abc import Iterator
from datetime import datetime

from pairstream.formats.record import LeftOut, Mapped, Plan, Recorded, Tried, Unmapped
from schemas.events import (
    CodeAttempted,
    Message,
    Prompts,
    RunFinished,
    RunStarted,
    StrategyProposed,
)
from schemas.rows import hashed_id

SYSTEM_ROLES = frozenset({"system", "developer"})

# A piece of code with the plan that it follows and its number in the run.
Piece = tuple[int, Plan, Tried]


def assemble(run: Recorded) -> Iterator[Mapped | Unmapped | LeftOut]:
    """Its events in their order, or why there are none; `run.finished` only if it is over."""
    pieces, planless = _pieces(run)
    if not run.prompt:
        yield Unmapped(run.place, "nothing says what the agent was asked")
    elif planless:
        # Without them the rest would be settled as another run than it was.
        yield from planless
    elif not pieces:
        why = "no attempt: no known tool ran code; name others with --code-tool NAME"
        yield Unmapped(run.place, why)
    else:
        yield from _events(run, pieces)


def _events(run: Recorded, pieces: list[Piece]) -> Iterator[Mapped | Unmapped | LeftOut]:
    judged, left_out = _judged(run, pieces)
    yield from left_out
    if not judged:
        yield Unmapped(run.place, "its code ran, and no score says what it was worth")
        return
    yield Mapped(run.place, _started(run))
    yield from _attempts(run, judged)
    if run.ended is not None:
        event_id = hashed_id(run.run_id, "run.finished")
        yield Mapped(run.place, RunFinished(run.run_id, run.ended, event_id=event_id))


def _pieces(run: Recorded) -> tuple[list[Piece], list[Unmapped]]:
    """Code that stands in messages counts only where no tool ran any: else it is an example."""
    tools = any(isinstance(step, Tried) and not step.in_text for step in run.steps)
    plan: Plan | None = None
    pieces, planless, number = [], [], 0
    for step in run.steps:
        if isinstance(step, Plan):
            plan = step if step.text.strip() else plan
        elif not (tools and step.in_text):
            number += 1
            if plan is None:
                planless.append(Unmapped(step.place, "code without a plan: nothing was said first"))
            else:
                pieces.append((number, plan, step))
    return pieces, planless


def _judged(run: Recorded, pieces: list[Piece]) -> tuple[list[Piece], list[LeftOut]]:
    """What counts: the code with scores of its own and what failed, or all that ran as one.

    A strategy of which something ran and nothing was judged is left out whole: its failures alone
    would say that it never worked.
    """
    ran = [piece for piece in pieces if piece[2].ran]
    if not any(tried.score is not None for _, _, tried in ran) and _is_judged_whole(run):
        return _whole(run, ran, [piece for piece in pieces if not piece[2].ran]), []
    judged: list[Piece] = []
    left_out: list[LeftOut] = []
    for group in _by_strategy(pieces):
        unjudged = [tried for _, _, tried in group if tried.ran and tried.score is None]
        left_out += [LeftOut(tried.place) for tried in unjudged]
        if not unjudged or any(tried.score is not None for _, _, tried in group):
            judged += [piece for piece in group if piece[2] not in unjudged]
    return sorted(judged, key=_number), left_out


def _is_judged_whole(run: Recorded) -> bool:
    return run.score is not None or run.fault is not None


def _whole(run: Recorded, ran: list[Piece], failed: list[Piece]) -> list[Piece]:
    """All that ran is one attempt, under the plan that came before it."""
    if not ran:
        return failed
    number, _, last = ran[-1]
    _, plan, _ = ran[0]
    code = "\n".join(tried.code for _, _, tried in ran)
    whole = last._replace(code=code, score=0.0 if run.fault else run.score)
    return sorted([*failed, (number, plan, whole)], key=_number)


def _by_strategy(pieces: list[Piece]) -> Iterator[list[Piece]]:
    groups: dict[str, list[Piece]] = {}
    for piece in pieces:
        groups.setdefault(piece[1].text.strip(), []).append(piece)
    yield from groups.values()


def _number(piece: Piece) -> int:
    return piece[0]


def _started(run: Recorded) -> RunStarted:
    leading = 0
    while leading < len(run.prompt) and run.prompt[leading].role in SYSTEM_ROLES:
        leading += 1
    return RunStarted(
        run.run_id,
        run.began,
        prompts=Prompts(run.prompt[:leading], [], [], run.prompt[leading:]),
        agent_id=run.agent_id,
        task_id=run.task_id,
        policy_id=run.policy_id,
        event_id=hashed_id(run.run_id, "run.started"),
    )


def _attempts(run: Recorded, judged: list[Piece]) -> Iterator[Mapped]:
    """Each plan before its first attempt; plans of the same words are one strategy."""
    ids: dict[str, str] = {}
    for number, plan, tried in judged:
        text = plan.text.strip()
        if text not in ids:
            ids[text] = f"s-{len(ids) + 1}"
            yield Mapped(tried.place, _proposed(run.run_id, ids[text], plan.time, text))
        strategy_id = ids[text]
        attempt = CodeAttempted(
            run.run_id,
            tried.time,
            strategy_id,
            number,
            tried.code,
            tried.compiled,
            tried.ran,
            float(tried.score or 0.0) if tried.ran else 0.0,
            error=tried.error,
            fault=run.fault,
            event_id=hashed_id(run.run_id, "code.attempted", strategy_id, number),
        )
        yield Mapped(tried.place, attempt)


def _proposed(run_id: str, strategy_id: str, time: datetime, text: str) -> StrategyProposed:
    event_id = hashed_id(run_id, "strategy.proposed", strategy_id)
    return StrategyProposed(run_id, time, strategy_id, text, event_id=event_id)


def prompt_of(messages: list[Message]) -> list[Message]:
    """What the agent was asked: the messages before the first that is its own."""
    prompt = []
    for message in messages:
        if message.role not in {*SYSTEM_ROLES, "user"}:
            break
        prompt.append(message)
    return prompt
