"""Events as agents send them. Pure."""

import msgspec

from schemas.events import Event, parse_event


def event_bytes(event: Event) -> bytes:
    """Its JSON without what is null, which is what a worker takes in.

    Raises: InvalidRecord where the contract forbids a value.
    """
    fields = msgspec.to_builtins(event)
    value = msgspec.json.encode({name: each for name, each in fields.items() if each is not None})
    parse_event(value)
    return value
