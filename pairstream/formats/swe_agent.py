"""The format `swe-agent`: trajectories of SWE-agent (`.traj`) and mini-swe-agent (`.traj.json`),
with the verdicts of SWE-bench's reports. Pure.

What was judged is the patch that the agent handed in, so that is the attempt; its commands were
steps on the way.
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any

from pairstream.formats.assembling import prompt_of
from pairstream.formats.json_documents import decode, moment_at, typed
from pairstream.formats.messages import content_of, message_of, words_in
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
from pairstream.formats.swe_bench_reports import Patch, Reports, Verdict, verdicts_in

Json = dict[str, Any]

ENDINGS = (".traj.json", ".traj", ".json")


def read(sources: Sequence[Source], _: Choices) -> Iterator[Recorded | Unmapped]:
    """One run for each trajectory; reports may stand anywhere among the files."""
    reports = Reports()
    trajectories: list[tuple[Source, Json, Patch]] = []
    for source in sources:
        try:
            document = typed(decode(source.content), Json)
            found = verdicts_in(document)
            if found is not None:
                reports.add(PurePath(source.name).parent, found)
            elif "trajectory" in document or "messages" in document or "attempts" in document:
                trajectories.append((source, document, _patch(source.name, document)))
            else:
                yield Unmapped(source.name, "neither a trajectory of SWE-agent nor a report")
        except Unreadable as error:
            yield Unmapped(source.name, str(error))
    for trajectory in trajectories:
        reports.expect(trajectory[-1])
    for source, document, patch in trajectories:
        try:
            yield _run(source, document, patch, reports.verdict(patch))
        except Unreadable as error:
            yield Unmapped(source.name, str(error))


def _patch(name: str, document: Json) -> Patch:
    info = typed(document.get("info") or {}, Json)
    patch = _submission(info)
    if not patch:
        raise Unreadable(
            f"nothing was handed in (exit status: {str(info.get('exit_status'))[:60]})"
        )
    return Patch(PurePath(name).parent, _instance(name, document), patch)


def _run(source: Source, document: Json, patch: Patch, verdict: Verdict | None) -> Recorded:
    instance = patch.instance
    dialogue = typed(document.get("messages") or document.get("history") or [], list[Json])
    said = [message for message in dialogue if not message.get("is_demo")]
    began, ended = _times(said)
    return Recorded(
        place=source.name,
        run_id=f"{instance}-{hashlib.sha256(source.content).hexdigest()[:16]}"[-256:],
        began=began,
        prompt=prompt_of([message_of(message) for message in _asked(said)]),
        steps=list(_steps(source.name, document, said, verdict, ended)),
        ended=ended,
        agent_id="mini-swe-agent" if "messages" in document else "SWE-agent",
        task_id=instance,
        policy_id=_model(document, typed(document["info"], Json)),
    )


def _instance(name: str, document: Json) -> str:
    given = document.get("instance_id")
    if isinstance(given, str) and given:
        return given
    file = PurePath(name).name
    return next((file.removesuffix(end) for end in ENDINGS if file.endswith(end)), file)


def _submission(info: Json) -> str:
    submission = info.get("submission")
    return submission if isinstance(submission, str) else ""


def _asked(dialogue: list[Json]) -> Iterator[Json]:
    for message in dialogue:
        if message.get("role") == "assistant":
            return
        yield message


def _steps(
    place: str, document: Json, said: list[Json], verdict: Verdict | None, time: datetime
) -> Iterator[Step]:
    """Of an agent that tries several times, every try with its patch; reports judge the chosen."""
    chosen = _submission(typed(document["info"], Json))
    tries = typed(document.get("attempts") or [document], list[Json])
    for number, each in enumerate(tries, 1):
        patch = _submission(typed(each.get("info") or {}, Json))
        plan = _first_thought(typed(each.get("trajectory") or [], list[Json]), said)
        yield Plan(time, plan)
        if patch:
            where = place if len(tries) == 1 else f"{place} attempt {number}"
            judged = verdict if patch == chosen else None
            applied = judged is None or judged.applied
            yield Tried(
                place=where,
                time=time,
                code=patch,
                compiled=applied,
                ran=applied,
                error=None if applied else "the patch did not apply",
                score=float(judged.resolved) if judged and applied else None,
            )


def _first_thought(trajectory: list[Json], said: list[Json]) -> str:
    thoughts = (step.get("thought") or step.get("response") for step in trajectory)
    words = (words_in(content_of(each)) for each in said if each.get("role") == "assistant")
    found = (thought for thought in (*thoughts, *words) if isinstance(thought, str))
    return next((thought for thought in found if thought.strip()), "")


def _times(dialogue: list[Json]) -> tuple[datetime, datetime]:
    """SWE-agent writes no times; mini-swe-agent does, beside the model's and the tools' words."""
    extras = [message.get("extra") for message in dialogue]
    stamps = [extra.get("timestamp") for extra in extras if isinstance(extra, dict)]
    seconds = [stamp for stamp in stamps if isinstance(stamp, int | float)]
    if not seconds:
        return EPOCH, EPOCH
    return moment_at(min(seconds)), moment_at(max(seconds))


def _model(document: Json, info: Json) -> str | None:
    """Where each of the two writes the model's name."""
    replayed = document.get("replay_config")
    if isinstance(replayed, str):
        replayed = decode(replayed.encode())
    places = (
        (info, ("config", "model", "model_name")),
        (replayed, ("agent", "model", "name")),
    )
    for value, path in places:
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, str):
            return value
    return None
