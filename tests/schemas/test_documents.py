"""The generated documents: JSON Schemas and AsyncAPI."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.documents import ROW_TYPES, asyncapi, json_schemas
from schemas.events import EVENT_TYPES
from tests.schemas.examples import FILES, IDS, content, type_of

DAY_MS = 24 * 60 * 60 * 1000

# Contract, section 2: key, and how long it is kept.
CHANNELS = {
    "pairstream.run-events.v1": ("run_id", 14 * DAY_MS),
    "pairstream.pairs.v1": ("run_id", -1),
    "pairstream.scored-rows.v1": ("run_id", 30 * DAY_MS),
    "pairstream.run-outcomes.v1": ("run_id", 30 * DAY_MS),
    "pairstream.garble-requests.v1": ("run_id", 7 * DAY_MS),
    "pairstream.trainings.v1": ("training_id", -1),
}


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({**json_schemas(), "$ref": f"#/$defs/{name}"})


def test_json_schemas_are_json_schemas() -> None:
    Draft202012Validator.check_schema(json_schemas())


@pytest.mark.parametrize("cls", [*EVENT_TYPES, *ROW_TYPES])
def test_each_event_and_row_has_a_schema(cls: type) -> None:
    assert json_schemas()["$defs"][cls.__name__]["type"] == "object"


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_schema_accepts_the_example(file: Path) -> None:
    validator(type_of(file).__name__).validate(content(file))


EVENTS = "pairstream.run-events.v1"
BROKEN = [
    (f"{EVENTS}/run.started", {"type": "run.begun"}),
    (f"{EVENTS}/run.started", {"run_id": ""}),
    (f"{EVENTS}/run.started", {"run_id": "x" * 257}),
    (f"{EVENTS}/run.started", {"run_id": 1}),
    (f"{EVENTS}/run.started", {"prompts": {"system_plist": []}}),
    (f"{EVENTS}/run.started", {"prompts": None}),
    (f"{EVENTS}/run.started", {"new_sp_egc_s": "one text"}),
    (f"{EVENTS}/run.started", {"time": 1763892000}),
    (f"{EVENTS}/strategy.proposed", {"strategy": None}),
    (f"{EVENTS}/code.attempted", {"attempt": 0}),
    (f"{EVENTS}/code.attempted", {"attempt": 1.5}),
    (f"{EVENTS}/code.attempted", {"attempt": True}),
    (f"{EVENTS}/code.attempted", {"attempt": 2**53}),
    (f"{EVENTS}/code.attempted", {"score": -0.1}),
    (f"{EVENTS}/code.attempted", {"score": "1"}),
    (f"{EVENTS}/code.attempted", {"compiled": 1}),
    (f"{EVENTS}/code.attempted", {"fault": "bad luck"}),
    (f"{EVENTS}/run.expired", {"events": 0}),
    ("pairstream.pairs.v1/mixed_code", {"rule": "any_code"}),
    ("pairstream.pairs.v1/mixed_code", {"more": 1}),
    ("pairstream.pairs.v1/first_time_strategy.sampled", {"garbled_distance": 1.5}),
    ("pairstream.pairs.v1/first_time_strategy.sampled", {"garbled_distance": None}),
    ("pairstream.pairs.v1/mixed_code", {"prompt": "text"}),
    ("pairstream.pairs.v1/mixed_code", {"chosen": [{"role": "assistant"}]}),
    ("pairstream.scored-rows.v1/code_success", {"kind": "code_failure"}),
    ("pairstream.run-outcomes.v1/discarded", {"reason": "because"}),
    ("pairstream.run-outcomes.v1/discarded", {"settled_by": "agent"}),
    ("pairstream.garble-requests.v1/first_time_code", {"pair": {}}),
    ("pairstream.trainings.v1/succeeded", {"step": "won"}),
]


@pytest.mark.parametrize(("name", "broken"), BROKEN, ids=[f"{n} {b}"[:60] for n, b in BROKEN])
def test_schema_refuses_what_is_broken(name: str, broken: dict[str, Any]) -> None:
    file = next(f for f in FILES if f"{f.parent.name}/{f.stem}" == name)

    assert not validator(type_of(file).__name__).is_valid({**content(file), **broken})


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_schema_requires_what_the_decoder_requires(file: Path) -> None:
    type_ = type_of(file)
    required = {"type"} & content(file).keys()
    required |= set(type_.__struct_fields__[: -len(type_.__struct_defaults__) or None])
    for name in content(file):
        left_out = {key: value for key, value in content(file).items() if key != name}

        assert validator(type_.__name__).is_valid(left_out) == (name not in required)


def references(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(document, list):
        for item in document:
            yield from references(item)


@pytest.mark.parametrize("document", [json_schemas(), asyncapi()], ids=["jsonschema", "asyncapi"])
def test_references_lead_somewhere(document: dict[str, Any]) -> None:
    found = list(references(document))
    for reference in found:
        root, *path = reference.split("/")
        target: Any = document
        for step in path:
            target = target[step]

        assert root == "#"
        assert isinstance(target, dict)
    assert found


def test_channels_are_the_topics_of_the_contract() -> None:
    channels = asyncapi()["channels"]

    assert channels.keys() == CHANNELS.keys()
    for name, (key, retention_ms) in CHANNELS.items():
        kafka = channels[name]["bindings"]["kafka"]
        assert channels[name]["address"] == kafka["topic"] == name
        assert key in channels[name]["description"]
        assert kafka["topicConfiguration"] == {
            "cleanup.policy": ["delete"],
            "retention.ms": retention_ms,
        }


def test_agents_send_events_and_receive_rows() -> None:
    """The document speaks for the service: it receives the one and sends the others."""
    document = asyncapi()
    actions = {name: operation["action"] for name, operation in document["operations"].items()}

    assert document["asyncapi"].startswith("3.")
    assert actions == dict.fromkeys(CHANNELS, "send") | {EVENTS: "receive"}


def test_each_message_is_named_in_its_channel_and_keyed() -> None:
    document = asyncapi()
    named = {
        message for channel in document["channels"].values() for message in channel["messages"]
    }
    messages = document["components"]["messages"]

    assert named == messages.keys() == {cls.__name__ for cls in (*EVENT_TYPES, *ROW_TYPES)}
    for name, message in messages.items():
        assert message["payload"] == {"$ref": f"#/components/schemas/{name}"}
        assert message["bindings"]["kafka"]["key"] == {"type": "string"}
