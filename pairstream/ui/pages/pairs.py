"""Pairs: a list to look through, and one of them with both sides."""

from collections.abc import Mapping

from pairstream.pair_places import PairPlaces
from pairstream.ui.diffs import side_by_side
from pairstream.ui.pair_texts import read_pair
from pairstream.ui.shown import cut
from pairstream.ui.site import Answer, Asked, NotFound, Page, Site, Text, whole_number
from schemas.errors import PairstreamError
from schemas.events import Message
from schemas.rows import Pair

PAIRS, NAMES = 50, 20
PROMPT_CHARACTERS, MESSAGES = 8 * 1024, 20


def pairs(site: Site, asked: Asked) -> Answer:
    query = asked.query
    wanted = {
        "run_id": query.get("run", ""),
        "task_id": query.get("task", ""),
        "agent_id": query.get("agent", ""),
        "rule": query.get("rule", ""),
    }
    gap, wrong = _gap(query)
    with site.index() as index:
        before = whole_number(asked, "before")
        listed = index.pairs(wanted, gap=gap, before=before, limit=PAIRS)
        values = {
            "listed": listed,
            "rules": index.rules(),
            "agents": [group.name for group in index.groups("agent", limit=NAMES)],
            "tasks": [group.name for group in index.groups("task", limit=NAMES)],
            "query": query,
            "is_filtered": any(wanted.values()) or gap != (None, None),
            "wrong": wrong,
        }
    return Page("pairs.html", "Pairs", values)


def _gap(query: Mapping[str, str]) -> tuple[tuple[float | None, float | None], list[str]]:
    """Both bounds, and what was typed for one and is no number."""
    found: list[float | None] = []
    wrong = []
    for name in ("gap_from", "gap_to"):
        text = query.get(name, "").strip()
        try:
            found.append(float(text) if text else None)
        except ValueError:
            found.append(None)
            wrong.append(text)
    return (found[0], found[1]), wrong


def pair(site: Site, asked: Asked) -> Answer:
    found = _find(site, asked)
    head, row = found["head"], found["pair"]
    assert isinstance(row, Pair)
    prompt = [(place, each.role, cut(each.content, PROMPT_CHARACTERS))
              for place, each in enumerate(row.prompt[:MESSAGES])]  # fmt: skip
    places = PairPlaces(site.data)
    values = {
        "pair": row,
        "head": head,
        "prompt": prompt,
        "messages_left_out": max(0, len(row.prompt) - MESSAGES),
        "diff": side_by_side(_text(row.rejected), _text(row.chosen)),
        "dataset": places.dataset(row.pair_id),
        "left_out": places.left_out(row.pair_id),
    }
    return Page("pair.html", "Pair", values)


def pair_text(site: Site, asked: Asked) -> Answer:
    """One side, or one message of the prompt, whole."""
    row = _find(site, asked)["pair"]
    assert isinstance(row, Pair)
    part = asked.query.get("part", "")
    sides = {"chosen": row.chosen, "rejected": row.rejected}
    if part in sides:
        return Text(f"{row.pair_id}-{part}.txt", _text(sides[part]).encode())
    place = whole_number(asked, "part")
    if place is None or place >= len(row.prompt):
        raise NotFound("a pair has the parts chosen, rejected, and the messages of its prompt")
    return Text(f"{row.pair_id}-prompt-{place}.txt", row.prompt[place].content.encode())


def _find(site: Site, asked: Asked) -> dict[str, object]:
    pair_id = asked.query.get("id", "").strip()
    with site.index() as index:
        head = index.pair(pair_id)
    if head is None:
        raise NotFound("no pair has this id: it may have come a moment ago, or the id is cut")
    try:
        return {"head": head, "pair": read_pair(site.settings.trainer, site.data.segments, head)}
    except PairstreamError as error:
        raise PairstreamError(f"the pair's texts cannot be read: {error}") from error


def _text(side: list[Message]) -> str:
    return "\n".join(message.content for message in side)
