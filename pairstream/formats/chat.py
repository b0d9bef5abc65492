"""The format `chat`: logs of chats in OpenAI's form, one dialogue a line. Pure.

A line is an object with `messages`, or a request with its response: `request.messages` (or
`messages`) and `response.choices[0].message` (or `choices`).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pairstream.formats.assembling import prompt_of
from pairstream.formats.dialogue import steps_of
from pairstream.formats.json_documents import decode, moment_at, moment_in, score_in, typed
from pairstream.formats.messages import message_of
from pairstream.formats.record import (
    Choices,
    Recorded,
    Source,
    Unmapped,
    Unreadable,
    chosen_score,
)
from pairstream.formats.spans import EPOCH

Json = dict[str, Any]

# Where a line says what; the first that is there counts. Metadata is looked into as well.
RUN_IDS = ("run_id", "conversation_id", "session_id", "thread_id", "id")
TASK_IDS = ("task_id", "task", "instance_id", "problem_id")
AGENT_IDS = ("agent_id", "agent")
MODELS = ("policy_id", "model")
TIMES = ("time", "timestamp", "created_at", "created")
SCORES = ("score", "reward")


class _Line(NamedTuple):
    dialogue: list[Json]
    run: Recorded


def read(sources: Sequence[Source], choices: Choices) -> Iterator[Recorded | Unmapped]:
    """One run for each run_id: a log of requests tells a dialogue again as it grows."""
    told: dict[str, list[_Line]] = {}
    for source in sources:
        for number, text in enumerate(source.content.splitlines(), 1):
            place = f"{source.name}:{number}"
            if text.strip():
                try:
                    line = _line(place, typed(decode(text), Json), text, choices)
                    told.setdefault(line.run.run_id, []).append(line)
                except Unreadable as error:
                    yield Unmapped(place, str(error))
    for lines in told.values():
        whole = max(lines, key=lambda line: len(line.dialogue))
        if all(_is_part(line, whole) for line in lines):
            yield whole.run
        else:
            yield from (Unmapped(line.run.place, _TOLD_APART) for line in lines)


_TOLD_APART = "another line has its run_id and tells something else; give each run a run_id"


def _is_part(line: _Line, whole: _Line) -> bool:
    if len(line.dialogue) == len(whole.dialogue) and line.run.score != whole.run.score:
        return False
    return line.dialogue == whole.dialogue[: len(line.dialogue)]


def _line(place: str, line: Json, raw: bytes, choices: Choices) -> _Line:
    request = line.get("request") if isinstance(line.get("request"), Mapping) else line
    response = line.get("response") if isinstance(line.get("response"), Mapping) else line
    dialogue = typed((request or {}).get("messages"), list[Json])
    answers = [
        answer["message"]
        for answer in typed((response or {}).get("choices") or [], list[Json])[:1]
        if isinstance(answer.get("message"), dict)
    ]
    dialogue = [*dialogue, *answers]
    metadata = line.get("metadata")
    said = [line, *(each for each in (request, response, metadata) if isinstance(each, Mapping))]
    time = _time(_first(said, TIMES))
    run = Recorded(
        place=place,
        # A log may name nothing: the same line is the same run then.
        run_id=_name(said, RUN_IDS) or hashlib.sha256(raw.strip()).hexdigest()[:32],
        began=time,
        prompt=prompt_of([message_of(message) for message in _asked(dialogue)]),
        steps=list(steps_of(dialogue, choices, place=place, time=time)),
        score=chosen_score(_scores(said), choices),
        ended=time,
        agent_id=_name(said, AGENT_IDS),
        task_id=_name(said, TASK_IDS),
        policy_id=_name(said, MODELS),
    )
    return _Line(dialogue, run)


def _asked(dialogue: list[Json]) -> Iterator[Json]:
    for message in dialogue:
        if message.get("role") == "assistant":
            return
        yield message


def _first(said: list[Mapping[str, Any]], names: Sequence[str]) -> Any:
    found = (each[name] for name in names for each in said if each.get(name) is not None)
    return next(found, None)


def _name(said: list[Mapping[str, Any]], names: Sequence[str]) -> str | None:
    value = _first(said, names)
    return value if isinstance(value, str) and value else None


def _scores(said: list[Mapping[str, Any]]) -> dict[str, float]:
    """`score` and `reward` are one thing; an object `scores` or `rewards` names several."""
    for each in said:
        for name in SCORES:
            score, named = score_in(each.get(name)), each.get(name + "s")
            if score is not None:
                return {name: score}
            if isinstance(named, Mapping):
                return typed(named, dict[str, float])
    return {}


def _time(value: object) -> datetime:
    """A time of people (RFC 3339) or of machines (seconds); a log without one tells none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return moment_at(value)
    if isinstance(value, str):
        return moment_in(value)
    return EPOCH
