"""Settled runs, and the whole story of one."""

from typing import Any
from urllib.parse import urlencode

import msgspec
import orjson

from pairstream.run_events import EventFacts
from pairstream.story import Story
from pairstream.story_text import ENDS, PAIR_STATES, REASONS, VERDICTS
from pairstream.ui.shown import cut
from pairstream.ui.site import Answer, Asked, NotFound, Page, Redirect, Site, Text, whole_number

RUNS, PAIRS, LETTERS, MISSING = 50, 100, 20, 10
REFRESH_SECONDS = 2
ID_CHARACTERS = 256

# Of a story's texts on one page; each is whole behind its link.
EVENTS, TEXT_CHARACTERS, STORY_CHARACTERS = 200, 4 * 1024, 256 * 1024

# Texts of agents in an event, in the order in which they are shown.
TEXTS = ("strategy", "code", "error")


def runs(site: Site, asked: Asked) -> Answer:
    query = asked.query
    wanted = {
        "kind": query.get("kind", ""),
        "agent_id": query.get("agent", ""),
        "task_id": query.get("task", ""),
        "policy_id": query.get("policy", ""),
    }
    with site.index() as index:
        before = whole_number(asked, "before")
        listed = index.outcomes(wanted, before=before, limit=RUNS)
        values = {"listed": listed, "kinds": list(index.kinds()), "query": query}
    return Page("runs.html", "Runs", {**values, "reasons": REASONS})


def run(site: Site, asked: Asked) -> Answer:
    run_id = _run_id(asked)
    with site.index() as index:
        values: dict[str, object] = {
            "run_id": run_id,
            "outcome": index.outcome(run_id),
            "pairs": index.pairs_of_run(run_id, limit=PAIRS),
            "letters": index.letters(run_id=run_id, limit=LETTERS),
        }
    is_settled = values["outcome"] is not None
    if "anew" in asked.query:
        site.stories.read_anew(run_id, is_settled=is_settled)
        # The page asks for itself until all is read, and that must not begin it again.
        return Redirect(f"/run?{urlencode({'id': run_id})}")
    reading = site.stories.read(run_id, is_settled=is_settled)
    story = reading.story
    values |= {
        "story": story,
        "story_problem": reading.problem,
        "records": reading.records,
        "is_current": reading.is_current,
        "events": _events(story) if story else [],
        "places": {each.pair_id: each for each in story.pairs} if story else {},
        "missing": story.fate.missing[:MISSING] if story and story.events else [],
        "left_out": max(0, len(story.events) - EVENTS) if story else 0,
        "reasons": REASONS,
        "ends": ENDS,
        "verdicts": VERDICTS,
        "states": PAIR_STATES,
    }
    return Page("run.html", "Run", values, None if reading.is_current else REFRESH_SECONDS)


def run_text(site: Site, asked: Asked) -> Answer:
    """All of an event, as it is known to the story."""
    run_id, place = _run_id(asked), whole_number(asked, "event")
    story = site.stories.known(run_id)
    if story is None or place is None or place >= len(story.events):
        raise NotFound("that event is not read yet: look at the run's page first")
    content = story.events[place].content
    indented = orjson.dumps(content, option=orjson.OPT_INDENT_2)
    return Text(f"event-{place}.json.txt", indented)


def _run_id(asked: Asked) -> str:
    run_id = asked.query.get("id", "").strip()
    if not run_id or len(run_id) > ID_CHARACTERS:
        raise NotFound(f"a run's id has 1 to {ID_CHARACTERS} characters: type it above")
    return run_id


def _events(story: Story) -> list[dict[str, Any]]:
    """The first events, each with as much of its texts as the page still has room for."""
    room = STORY_CHARACTERS
    shown = []
    for place, event in enumerate(story.events[:EVENTS]):
        texts = []
        for name, text in _texts(event):
            part = cut(text, min(TEXT_CHARACTERS, room))
            room -= len(part.text)
            texts.append((name, part))
        shown.append({"place": place, "facts": event, "texts": texts})
    return shown


def _texts(event: EventFacts) -> list[tuple[str, str]]:
    content = event.content
    if isinstance(content, str):
        return [("record", content)]
    if not isinstance(content, dict):
        return []
    found = [(name, content[name]) for name in TEXTS if content.get(name)]
    prompts = content.get("prompts")
    if prompts:
        found.append(("prompts", msgspec.json.format(msgspec.json.encode(prompts)).decode()))
    return found
