"""What `pairstream tail` makes of a record of pairs, outcomes or dead letters. Pure."""

import json
from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec
from confluent_kafka import Message
from msgspec import Struct

from pairstream.letters import as_letter
from pairstream.terminal import (
    counted,
    key_text,
    moment,
    printable,
    shortened,
    shown_time,
    styled,
)
from schemas.json_errors import JSON_ERRORS
from schemas.rows import Outcome, Pair
from schemas.topics import DEAD_LETTER_SUFFIX, RUN_OUTCOMES

Kind = Literal["pair", "outcome", "dead_letter"]

DETAIL_WIDTH = 120

_COLOURS: dict[Kind, str] = {"pair": "green", "outcome": "cyan", "dead_letter": "red"}

_KINDS: tuple[tuple[Kind, msgspec.json.Decoder[Pair] | msgspec.json.Decoder[Outcome]], ...] = (
    ("pair", msgspec.json.Decoder(Pair)),
    ("outcome", msgspec.json.Decoder(Outcome)),
)


class Filter(NamedTuple):
    """What is to be shown: all, but for what is given here."""

    run_id: str | None = None
    agent_id: str | None = None
    rule: str | None = None
    outcome: str | None = None

    def has(self, sighting: "Sighting") -> bool:
        """`outcome` names an outcome or the reason of one; a letter is of a run by its key too."""
        return (
            self.run_id in (None, *sighting.runs)
            and self.agent_id in (None, sighting.agent_id)
            and self.rule in (None, sighting.rule)
            and (self.outcome is None or self.outcome in sighting.outcomes)
        )


class Sighting(Struct, frozen=True, kw_only=True):
    """A record with what it is filtered by; `facts` are what `--json` gives of it."""

    kind: Kind
    place: str
    facts: Mapping[str, object]
    said: str
    runs: tuple[str, ...] = ()
    agent_id: str | None = None
    rule: str | None = None
    outcomes: tuple[str, ...] = ()
    time: str

    def line(self) -> str:
        """For people: nothing in it steers a terminal."""
        kind = styled(f"{self.kind:<11}", _COLOURS[self.kind])
        return f"{self.time}  {kind}  {printable(self.said)}"

    def json_line(self) -> str:
        """One object in ASCII on one line."""
        value = {"kind": self.kind, "place": self.place, "time": self.time, **self.facts}
        return json.dumps(msgspec.to_builtins(value, str_keys=True))


def as_sighting(message: Message) -> Sighting:
    """By its topic; a value that is no row of ours is said to be none."""
    topic = str(message.topic())
    place = f"{topic}/{message.partition()}/{message.offset()}"
    time = shown_time(moment(message.timestamp()[1]))
    if topic.endswith(DEAD_LETTER_SUFFIX):
        return _letter(message, place, time)
    kind, decoder = _KINDS[topic.endswith(RUN_OUTCOMES.name)]
    try:
        row = decoder.decode(message.value() or b"")
    except JSON_ERRORS:
        key = key_text(message.key()) or ""
        return Sighting(
            kind=kind, place=place, time=time, facts={"row": None},
            said=f"{place} is no {kind} of ours", runs=(key,),
        )  # fmt: skip
    return _pair(row, place, time) if isinstance(row, Pair) else _outcome(row, place, time)


def _pair(row: Pair, place: str, time: str) -> Sighting:
    garbler = f"  garbled by {row.garbler}" if row.garbler else ""
    rejected = "" if row.rejected_score is None else f" over {row.rejected_score:g}"
    score = "" if row.chosen_score is None else f"  score {row.chosen_score:g}{rejected}"
    return Sighting(
        kind="pair", place=place, time=time, facts={"row": row}, runs=(row.run_id,),
        agent_id=row.agent_id, rule=row.rule,
        said=f"{row.run_id}  {row.rule}{score}{garbler}{_agent(row.agent_id)}",
    )  # fmt: skip


def _outcome(row: Outcome, place: str, time: str) -> Sighting:
    reason = f", {row.reason}" if row.reason else ""
    return Sighting(
        kind="outcome", place=place, time=time, facts={"row": row}, runs=(row.run_id,),
        agent_id=row.agent_id, outcomes=(row.outcome, *([row.reason] if row.reason else [])),
        said=f"{row.run_id}  {row.outcome}{reason}: {counted(row.pairs, 'pair')} of "
        f"{counted(row.attempts, 'attempt')}{_agent(row.agent_id)}",
    )  # fmt: skip


def _letter(message: Message, place: str, time: str) -> Sighting:
    letter = as_letter(message)
    named = (letter.key, letter.run_id)
    detail = shortened(letter.detail, DETAIL_WIDTH)
    key = "" if letter.key is None else f"  key {letter.key}"
    return Sighting(
        kind="dead_letter", place=place, time=time, facts={"letter": letter},
        runs=tuple(name for name in named if name is not None),
        said=f"{letter.reason}  {place}{key}: {detail}",
    )  # fmt: skip


def _agent(agent_id: str | None) -> str:
    return f"  agent {agent_id}" if agent_id else ""
