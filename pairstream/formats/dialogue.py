"""A dialogue in OpenAI's form as the steps of a run: the agent's words, the calls of its tools and
what they gave back. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pairstream.formats.json_documents import score_in, typed
from pairstream.formats.messages import content_of, reasoning_of, words_in
from pairstream.formats.record import Choices, Plan, Step, Tried
from pairstream.formats.tools import code_block, code_of, compiled, failure_in

Json = Mapping[str, Any]


def steps_of(
    dialogue: Sequence[Json], choices: Choices, *, place: str, time: datetime
) -> Iterator[Step]:
    """The steps of every assistant message. Raises: Unreadable for what is no dialogue.

    A call's result is the next tool message of its id; ids may repeat. Code in a message was
    answered by the message after it. A `score` on a tool message, or on the assistant's for its
    code, is that attempt's.
    """
    results = _results(dialogue)
    for index, message in enumerate(dialogue):
        if message.get("role") != "assistant":
            continue
        where = f"{place} message {index + 1}"
        content = content_of(message)
        said = words_in(content)
        block = code_block(said)
        thought = message.get("reasoning_content") or reasoning_of(content)
        yield Plan(time, (block[0] if block else said) or str(thought))
        for number, call in enumerate(_calls(message)):
            code = _code(call, choices)
            if code is not None:
                answer = results.get((index, number))
                yield tried(where, time, code, answer, score_in(message.get("score")))
        if block is not None:
            answer = dialogue[index + 1] if index + 1 < len(dialogue) else None
            step = tried(where, time, block[1], answer, score_in(message.get("score")))
            yield step._replace(in_text=True)


def _results(dialogue: Sequence[Json]) -> dict[tuple[int, int], Json]:
    """By the place of the message with the call, and of the call in it.

    A call that has no result when another is made by its id gets none.
    """
    results: dict[tuple[int, int], Json] = {}
    waiting: dict[str, list[tuple[int, int]]] = {}
    for index, message in enumerate(dialogue):
        answered = message.get("tool_call_id")
        if isinstance(answered, str) and waiting.get(answered):
            results[waiting[answered].pop(0)] = message
        elif message.get("role") == "assistant":
            ids = [str(call.get("id")) for call in _calls(message)]
            waiting |= {each: [] for each in ids}
            for number, each in enumerate(ids):
                waiting[each].append((index, number))
    return results


def _calls(message: Json) -> list[dict[str, Any]]:
    return typed(message.get("tool_calls") or [], list[dict[str, Any]])


def _code(call: Json, choices: Choices) -> str | None:
    function = call.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        return None
    return code_of(function["name"], function.get("arguments"), choices)


def tried(place: str, time: datetime, code: str, answer: Json | None, score: float | None) -> Tried:
    """What became of the code, as far as the answer to it tells."""
    error = failure_in(words_in(content_of(answer))) if answer else None
    judged = score_in(answer.get("score")) if answer else None
    return Tried(
        place=place,
        time=time,
        code=code,
        compiled=compiled(error),
        ran=error is None,
        error=error,
        score=None if error else (score if judged is None else judged),
    )
