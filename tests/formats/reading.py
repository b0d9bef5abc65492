"""Recorded files, and what they are mapped to."""

from pathlib import Path
from typing import Any

import msgspec
import orjson

from pairstream.formats import FORMATS
from pairstream.formats.assembling import assemble
from pairstream.formats.encoding import event_bytes
from pairstream.formats.record import Choices, LeftOut, Mapped, Recorded, Source, Unmapped

RECORDED = Path(__file__).parent / "recorded"

Json = dict[str, Any]

ALL = Choices()


def source(name: str) -> Source:
    return Source(name, (RECORDED / name).read_bytes())


def of_text(text: str | bytes | object, name: str = "file") -> Source:
    if isinstance(text, str):
        text = text.encode()
    return Source(name, text if isinstance(text, bytes) else orjson.dumps(text))


def read(
    format_name: str, *sources: Source, choices: Choices = ALL
) -> tuple[list[Recorded], list[Unmapped]]:
    """Runs, and what is none."""
    found = list(FORMATS[format_name].load()(sources, choices))
    runs = [each for each in found if isinstance(each, Recorded)]
    return runs, [each for each in found if isinstance(each, Unmapped)]


def events(
    format_name: str, *sources: Source, choices: Choices = ALL
) -> tuple[list[Json], list[str], int]:
    """Events as JSON, what cannot be mapped, and how many attempts are left out."""
    runs, unmapped = read(format_name, *sources, choices=choices)
    mapped: list[Json] = []
    left_out = 0
    for run in runs:
        for item in assemble(run):
            if isinstance(item, Mapped):
                mapped.append(msgspec.json.decode(event_bytes(item.event)))
            elif isinstance(item, LeftOut):
                left_out += 1
            else:
                unmapped.append(item)
    return mapped, [f"{each.place}: {each.why}" for each in unmapped], left_out


def facts(mapped: list[Json]) -> list[tuple[object, ...]]:
    """Of each event what it is about."""
    return [_fact(event) for event in mapped]


def _fact(event: Json) -> tuple[object, ...]:
    match event["type"]:
        case "strategy.proposed":
            return (event["strategy_id"], event["strategy"])
        case "code.attempted":
            told = (event["strategy_id"], event["attempt"], event["code"])
            return (*told, event["compiled"], event["ran"], event["score"])
    return (event["type"],)
