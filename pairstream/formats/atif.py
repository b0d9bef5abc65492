"""The format `atif`: trajectories in the Agent Trajectory Interchange Format (Harbor's RFC 0001,
v1.0 to v1.8), with the rewards of Harbor's `result.json`, which lies above them. Pure.
"""

from collections.abc import Container, Iterator, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any

from msgspec import Struct, field

from pairstream.formats.assembling import prompt_of
from pairstream.formats.harbor_results import TrialResult, fault_of, reward_of
from pairstream.formats.json_documents import decode, moment_in, typed
from pairstream.formats.messages import text_of, words_in
from pairstream.formats.record import (
    Choices,
    Plan,
    Recorded,
    Source,
    Step,
    Tried,
    Unmapped,
    Unreadable,
)
from pairstream.formats.spans import EPOCH
from pairstream.formats.tools import code_of, compiled, failure_in
from schemas.events import Message

ROLES = {"system": "system", "user": "user"}


class _Call(Struct):
    function_name: str
    tool_call_id: str | None = None
    arguments: Any = None


class _Result(Struct):
    source_call_id: str | None = None
    content: Any = None


class _Observation(Struct):
    results: list[_Result] = field(default_factory=list)


class _Step(Struct):
    source: str
    message: Any = ""
    timestamp: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None
    observation: _Observation | None = None
    is_copied_context: bool | None = None


class _Agent(Struct):
    name: str
    model_name: str | None = None


class _Trajectory(Struct):
    schema_version: str
    agent: _Agent
    steps: list[_Step]
    session_id: str | None = None
    trajectory_id: str | None = None


def read(sources: Sequence[Source], choices: Choices) -> Iterator[Recorded | Unmapped]:
    """One run for each session of each folder; what a context window cut in two is one again."""
    results: dict[PurePath, TrialResult] = {}
    sessions: dict[tuple[PurePath, str], list[tuple[str, _Trajectory]]] = {}
    # A file given twice is no continuation of itself.
    for source in sorted(set(sources), key=lambda source: (len(source.name), source.name)):
        try:
            found = _document(decode(source.content))
        except Unreadable as error:
            yield Unmapped(source.name, str(error))
            continue
        folder = PurePath(source.name).parent
        if isinstance(found, TrialResult):
            results[folder] = found
        elif found is not None:
            session = found.session_id or found.trajectory_id or source.name
            sessions.setdefault((folder, session), []).append((source.name, found))
    named: set[str] = set()
    for (folder, session), parts in sessions.items():
        above = (results.get(each) for each in (folder, *folder.parents))
        result = next(filter(None, above), None)
        run_id = _run_id(session, result, named)
        named.add(run_id)
        try:
            yield _run(run_id, parts, result, choices)
        except Unreadable as error:
            yield Unmapped(parts[0][0], str(error))


def _run_id(session: str, result: TrialResult | None, named: Container[str]) -> str:
    """The first session of a trial, by its file's name the main one, goes by the trial's id."""
    if result is None or result.id is None:
        return session
    return result.id if result.id not in named else f"{result.id}-{session}"


def _document(document: object) -> "_Trajectory | TrialResult | None":
    """None: Harbor's summary of a job. Raises: Unreadable for what is none of Harbor's files."""
    if isinstance(document, dict):
        if str(document.get("schema_version", "")).startswith("ATIF"):
            return typed(document, _Trajectory)
        if "trial_name" in document:
            return typed(document, TrialResult)
        if "n_total_trials" in document:
            return None
    raise Unreadable(
        "neither an ATIF trajectory (schema_version ATIF-...) nor Harbor's result of a trial "
        "(trial_name, verifier_result)"
    )


def _run(
    run_id: str,
    parts: list[tuple[str, _Trajectory]],
    result: TrialResult | None,
    choices: Choices,
) -> Recorded:
    place, first = parts[0]
    steps = [
        (f"{name} step {number}", step)
        for name, trajectory in parts
        for number, step in enumerate(trajectory.steps, 1)
        if not step.is_copied_context
    ]
    times = [moment_in(step.timestamp) for _, step in steps if step.timestamp]
    began = min(times, default=None) or _time(result, "started_at") or EPOCH
    return Recorded(
        place=place,
        run_id=run_id,
        began=began,
        prompt=prompt_of(list(_asked([step for _, step in steps]))),
        steps=list(_steps(steps, choices, began)),
        score=reward_of(result, choices) if result else None,
        fault=fault_of(result) if result else None,
        ended=_time(result, "finished_at") or max(times, default=began),
        agent_id=first.agent.name,
        task_id=result.task_name if result else None,
        policy_id=first.agent.model_name,
    )


def _time(result: TrialResult | None, name: str) -> datetime | None:
    text: str | None = getattr(result, name, None)
    return moment_in(text) if text else None


def _asked(steps: list[_Step]) -> Iterator[Message]:
    for step in steps:
        if step.source not in ROLES:
            return
        yield Message(ROLES[step.source], text_of(step.message))


def _steps(steps: list[tuple[str, _Step]], choices: Choices, began: datetime) -> Iterator[Step]:
    time = began
    for place, step in steps:
        time = moment_in(step.timestamp) if step.timestamp else time
        if step.source == "agent":
            yield Plan(time, words_in(step.message).strip() or step.reasoning_content or "")
            for call in step.tool_calls or []:
                code = code_of(call.function_name, call.arguments, choices)
                if code is not None:
                    yield _tried(place, time, code, _answer(step, call))


def _answer(step: _Step, call: _Call) -> str:
    results = step.observation.results if step.observation else []
    own = [result for result in results if result.source_call_id == call.tool_call_id]
    alone = results if len(step.tool_calls or []) == 1 else []
    return "\n".join(words_in(result.content) for result in own or alone)


def _tried(place: str, time: datetime, code: str, answer: str) -> Tried:
    error = failure_in(answer)
    return Tried(place, time, code, compiled(error), error is None, error)
