"""JSON Schemas and the AsyncAPI document, generated from the types: agents in other languages are
written against them.
"""

from typing import Any

import msgspec

from schemas.events import EVENT_TYPES
from schemas.rows import GarbleRequest, Outcome, Pair, ScoredRow, TrainingStep
from schemas.topics import TOPICS, Topic

ROW_TYPES: tuple[type[msgspec.Struct], ...] = (
    Pair,
    ScoredRow,
    Outcome,
    GarbleRequest,
    TrainingStep,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI_VERSION = "3.0.0"
KAFKA_BINDING = "0.5.0"
CONTRACT_VERSION = "1.0.0"


def json_schemas() -> dict[str, Any]:
    """One document; each event and row under `$defs` by its name."""
    _, definitions = msgspec.json.schema_components((*EVENT_TYPES, *ROW_TYPES))
    return {"$schema": DIALECT, "title": "pairstream", "$defs": _relocated(definitions, "#/$defs/")}


def asyncapi() -> dict[str, Any]:
    """Channels are the topics, with Kafka's bindings; what agents send and what comes out."""
    _, definitions = msgspec.json.schema_components((*EVENT_TYPES, *ROW_TYPES))
    with_values = [topic for topic in TOPICS if topic.values]
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {"title": "pairstream", "version": CONTRACT_VERSION},
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in with_values},
        "operations": {
            topic.name: {
                "action": "receive" if topic.key == "run_id" and "events" in topic.name else "send",
                "channel": {"$ref": f"#/channels/{topic.name}"},
            }
            for topic in with_values
        },
        "components": {
            "schemas": _relocated(definitions, "#/components/schemas/"),
            "messages": {
                value.__name__: {
                    "name": value.__name__,
                    "payload": {"$ref": f"#/components/schemas/{value.__name__}"},
                    "bindings": {
                        "kafka": {"key": {"type": "string"}, "bindingVersion": KAFKA_BINDING}
                    },
                }
                for topic in with_values
                for value in topic.values
            },
        },
    }


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.name,
        "description": f"{topic.about}; keyed by {topic.key}.",
        "messages": {
            value.__name__: {"$ref": f"#/components/messages/{value.__name__}"}
            for value in topic.values
        },
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "topicConfiguration": {
                    "cleanup.policy": ["delete"],
                    "retention.ms": topic.retention_ms,
                },
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }


def _relocated(schema: Any, prefix: str) -> Any:
    """References point where the document keeps its schemas."""
    if isinstance(schema, dict):
        return {
            key: prefix + value.rpartition("/")[2] if key == "$ref" else _relocated(value, prefix)
            for key, value in schema.items()
        }
    return [_relocated(item, prefix) for item in schema] if isinstance(schema, list) else schema
