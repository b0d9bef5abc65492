"""Golden examples: what agents in other languages and readers of our topics rely on."""

import json
from pathlib import Path

import msgspec
import pytest

from schemas.documents import ROW_TYPES
from schemas.events import EVENT_TYPES, parse_event
from schemas.rows import (
    GarbleRequest,
    Pair,
    ScoredRow,
    hashed_id,
    parse_garble_request,
    parse_pair,
)
from streams.partition import Partition
from tests.schemas.examples import FILES, FOLDER, IDS, VALUES, content, type_of


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_example_is_one_of_its_topics_values_and_encodes_to_the_same_json(file: Path) -> None:
    value = msgspec.json.decode(file.read_bytes(), type=type_of(file), strict=True)
    encoded = json.loads(msgspec.json.encode(value))

    given = content(file)
    assert {name: encoded[name] for name in given} == given
    # What an agent may leave out stands as null.
    assert {encoded[name] for name in encoded.keys() - given.keys()} <= {None}


@pytest.mark.parametrize(
    "file", [f for f in FILES if type_of(f) in ROW_TYPES], ids=lambda f: f.stem
)
def test_example_row_names_every_field_in_the_contracts_order(file: Path) -> None:
    row = content(file)
    fields = list(type_of(file).__struct_fields__)
    if type_of(file) is Pair and row["garbler"] != "high_temperature":
        fields.remove("garbled_distance")

    assert list(row) == fields


@pytest.mark.parametrize("cls", [*EVENT_TYPES, *ROW_TYPES])
def test_each_event_and_row_has_an_example(cls: type[msgspec.Struct]) -> None:
    assert cls in {type_of(file) for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_example_passes_its_reader(file: Path) -> None:
    value, type_ = file.read_bytes(), type_of(file)
    if type_ in EVENT_TYPES:
        assert type(parse_event(value)) is type_
    elif type_ is Pair:
        assert parse_pair(value).pair_id == content(file)["pair_id"]
    elif type_ is GarbleRequest:
        pair = parse_garble_request(value).pair
        parts = (pair.run_id, pair.strategy_id, pair.rule, pair.chosen_attempt, None)
        assert pair.pair_id == hashed_id(*parts)
    elif type_ is ScoredRow:
        row = content(file)
        expected = hashed_id(row["run_id"], row["strategy_id"], row["kind"], row["attempt"])
        assert row["row_id"] == expected


def test_examples_lie_under_topics_that_have_values() -> None:
    folders = {folder.name for folder in FOLDER.iterdir()}

    assert folders == {name for name, values in VALUES.items() if values}


def test_rows_of_the_examples_come_from_the_events_of_the_examples() -> None:
    """One story: run r-1 of the events is run r-1 of the rows."""
    events = [content(file) for file in FILES if type_of(file) in EVENT_TYPES]
    run = sorted((e for e in events if e["run_id"] == "r-1"), key=lambda e: e["time"])
    log = [(b"r-1", json.dumps(e).encode(), place) for place, e in enumerate(run)]

    effects = Partition(extended=False).apply(log, now_ms=0)

    given = {(topic.name, value) for topic, _, value in effects.rows}
    golden = {
        (file.parent.name, json.dumps(content(file), separators=(",", ":")).encode())
        for file in FILES
        if type_of(file) in ROW_TYPES and content(file).get("run_id") == "r-1"
    }
    assert given == golden
    assert len(golden) == 4
