"""The golden examples by topic, and the type of each."""

import json
from pathlib import Path
from typing import Any

import msgspec

from schemas.topics import TOPICS

FOLDER = Path(__file__).parents[2] / "schemas" / "examples"
FILES = sorted(FOLDER.glob("*/*.json"))
IDS = [f"{file.parent.name}/{file.stem}" for file in FILES]
VALUES = {topic.name: topic.values for topic in TOPICS}


def content(file: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(file.read_bytes())
    return value


def type_of(file: Path) -> type[msgspec.Struct]:
    """The one value type of the file's topic that it must be, by its `type` where there are more.

    Raises: StopIteration when there is none.
    """
    values = VALUES[file.parent.name]
    tag = content(file).get("type")
    return next(value for value in values if value.__struct_config__.tag == tag)
