"""Contract, section 3: what is no event is a dead letter, `invalid_event`, whatever is wrong."""

from typing import Any

import pytest

from schemas.errors import InvalidRecord
from schemas.events import parse_event
from tests.schemas.wire import (
    ATTEMPTED,
    BY_TYPE,
    COMMON,
    EXPIRED,
    FINISHED,
    PROMPTS,
    PROPOSED,
    STARTED,
    VALID,
    encoded,
    spelt,
)

WHOLE = encoded(FINISHED)
# Each quote in it could be taken for the start of a text, which took minutes.
LONG_TEXT = b'{"x": ' + b"[" * 201 + b'"' + b'\\"' * 500_000
DEEP = "[" * 100_000 + "]" * 100_000

NOT_JSON: dict[str, bytes | None] = {
    "no value": None,
    "no bytes": b"",
    "white space": b" \n",
    "no UTF-8": WHOLE.replace(b"r-1", b"\xff"),
    "no UTF-8 in an unknown field": spelt(FINISHED, "more", '"x"').replace(b'"x"', b'"\xff"'),
    "overlong UTF-8": WHOLE.replace(b"r-1", b"\xc0\x80"),
    "a surrogate in UTF-8": WHOLE.replace(b"r-1", b"\xed\xa0\x80"),
    "UTF-16": WHOLE.decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + WHOLE,
    "cut off": WHOLE[:-1],
    "cut off in a long text": LONG_TEXT,
    "cut off in a long text, at a backslash": LONG_TEXT + b"\\",
    "cut off after a wrong field": b'{"type": "run.finished", "run_id": 5, "time',
    "garbage after a wrong field": b'{"type": "run.finished", "run_id": 5, "time": ]}',
    "garbage after an unknown type": b'{"type": "run.paused", "run_id": "r-1" ]}',
    "a bad escape after an unknown type": b'{"type": "run.paused", "run_id": "\\q"}',
    "a lone surrogate after an unknown type": b'{"type": "run.paused", "run_id": "\\ud800"}',
    "two values": WHOLE + WHOLE,
    "a NUL behind it": WHOLE + b"\x00",
    "garbage behind it": WHOLE + b"x",
    "a comment": WHOLE[:-1] + b"/**/}",
    "single quotes": WHOLE.replace(b'"', b"'"),
    "a trailing comma": WHOLE[:-1] + b",}",
    "NaN in an unknown field": spelt(FINISHED, "more", "NaN"),
    "a leading zero in an unknown field": spelt(FINISHED, "more", "01"),
    "a bad escape in an unknown field": spelt(FINISHED, "more", '"\\q"'),
    "a raw line break in a text": spelt(FINISHED, "more", '"a\nb"'),
}

WRONG_SHAPE: dict[str, bytes] = {
    "an array": b"[]",
    "an array of events": b"[" + WHOLE + b"]",
    "a text": b'"run.finished"',
    "a number": b"1",
    "null": b"null",
    "an empty object": b"{}",
    "no type": encoded(COMMON),
    "type null": encoded(FINISHED, type=None),
    "type a number": encoded(FINISHED, type=1),
    "run_id empty": encoded(FINISHED, run_id=""),
    "run_id of 257 characters": encoded(FINISHED, run_id="x" * 257),
    "run_id of 257 characters outside the BMP": encoded(FINISHED, run_id="\U0001f600" * 257),
    "run_id a number": encoded(FINISHED, run_id=1),
    "run_id null": encoded(FINISHED, run_id=None),
    "run_id a lone surrogate": spelt(FINISHED, "run_id", '"\\ud800"'),
    "run_id a low surrogate": spelt(FINISHED, "run_id", '"\\udc00"'),
    "time without a zone": encoded(FINISHED, time="2026-11-23T10:00:00"),
    "time a date": encoded(FINISHED, time="2026-11-23"),
    "time a number": encoded(FINISHED, time=1763892000),
    "time a word": encoded(FINISHED, time="now"),
    "time a day that is none": encoded(FINISHED, time="2026-02-30T10:00:00Z"),
    "time beyond the year 9999": encoded(FINISHED, time="9999-12-31T23:59:59.9999999Z"),
    "event_id a number": encoded(FINISHED, event_id=1),
    "prompts null": encoded(STARTED, prompts=None),
    "prompts a list": encoded(STARTED, prompts=[]),
    "prompts a part too few": encoded(STARTED, prompts={**PROMPTS, "basic_env_plist": None}),
    "a message without content": encoded(
        STARTED, prompts={**PROMPTS, "system_plist": [{"role": "a"}]}
    ),
    "a message's content of parts": encoded(
        STARTED, prompts={**PROMPTS, "system_plist": [{"role": "a", "content": []}]}
    ),
    "getters one text": encoded(STARTED, new_sp_egc_s="get()"),
    "getters of numbers": encoded(STARTED, new_sp_egc_s=[1]),
    "agent_id a number": encoded(STARTED, agent_id=7),
    "strategy null": encoded(PROPOSED, strategy=None),
    "strategy a lone surrogate": spelt(PROPOSED, "strategy", '"\\udfff"'),
    "own prompts a part too few": encoded(PROPOSED, prompts={"system_plist": []}),
    "attempt 0": encoded(ATTEMPTED, attempt=0),
    "attempt -1": encoded(ATTEMPTED, attempt=-1),
    "attempt 1.0": spelt(ATTEMPTED, "attempt", "1.0"),
    "attempt 1e0": spelt(ATTEMPTED, "attempt", "1e0"),
    "attempt 1.5": encoded(ATTEMPTED, attempt=1.5),
    "attempt a text": encoded(ATTEMPTED, attempt="1"),
    "attempt a boolean": encoded(ATTEMPTED, attempt=True),
    "attempt beyond 2^53": encoded(ATTEMPTED, attempt=2**53),
    "attempt beyond 2^64": encoded(ATTEMPTED, attempt=2**64),
    "attempt of 5000 digits": spelt(ATTEMPTED, "attempt", "1" * 5000),
    "code a list": encoded(ATTEMPTED, code=["pass"]),
    "compiled a number": encoded(ATTEMPTED, compiled=1),
    "ran null": encoded(ATTEMPTED, ran=None),
    "score negative": encoded(ATTEMPTED, score=-0.5),
    "score barely negative": spelt(ATTEMPTED, "score", "-5e-324"),
    "score infinite": spelt(ATTEMPTED, "score", "1e999"),
    "score negative infinite": spelt(ATTEMPTED, "score", "-1e999"),
    "score of 400 digits": spelt(ATTEMPTED, "score", "1" * 400),
    "score NaN": spelt(ATTEMPTED, "score", "NaN"),
    "score Infinity": spelt(ATTEMPTED, "score", "Infinity"),
    "score NaN as a text": encoded(ATTEMPTED, score="NaN"),
    "score a text": encoded(ATTEMPTED, score="1.5"),
    "score a boolean": encoded(ATTEMPTED, score=True),
    "score null": encoded(ATTEMPTED, score=None),
    "ran without compiled": encoded(ATTEMPTED, compiled=False, score=0),
    "score without ran": encoded(ATTEMPTED, ran=False),
    "score without ran, void": encoded(ATTEMPTED, ran=False, fault="cancelled"),
    "ran without compiled, void": encoded(ATTEMPTED, compiled=False, score=0, fault="cancelled"),
    "fault unknown": encoded(ATTEMPTED, fault="bad luck"),
    "fault empty": encoded(ATTEMPTED, fault=""),
    "fault a boolean": encoded(ATTEMPTED, fault=True),
    "error a number": encoded(ATTEMPTED, error=1),
    "expiry of no events": encoded(EXPIRED, events=0),
}

DEEPLY_NESTED: dict[str, bytes] = {
    "alone": DEEP.encode(),
    "never closed": b"[" * 100_000,
    "in an unknown field": spelt(FINISHED, "more", DEEP),
    "in a wrong field": spelt(FINISHED, "run_id", DEEP),
    "after a wrong field": spelt({**FINISHED, "run_id": 5}, "time", DEEP),
    "in an unknown type": spelt({**FINISHED, "type": "run.paused"}, "more", DEEP),
}

INVALID = {**NOT_JSON, **WRONG_SHAPE, **DEEPLY_NESTED}


@pytest.mark.parametrize("value", INVALID.values(), ids=INVALID.keys())
def test_what_is_no_event_is_an_invalid_event(value: bytes | None) -> None:
    with pytest.raises(InvalidRecord) as refused:
        parse_event(value)

    assert refused.value.reason == "invalid_event"


@pytest.mark.parametrize("event", VALID, ids=BY_TYPE)
def test_every_missing_field_is_an_invalid_event(event: dict[str, Any]) -> None:
    for name in event:
        with pytest.raises(InvalidRecord, match=name):
            parse_event(encoded({key: value for key, value in event.items() if key != name}))


@pytest.mark.parametrize("part", PROMPTS)
def test_every_missing_part_of_the_prompt_is_an_invalid_event(part: str) -> None:
    parts = {name: messages for name, messages in PROMPTS.items() if name != part}

    with pytest.raises(InvalidRecord, match=part):
        parse_event(encoded(STARTED, prompts=parts))


SECRET = "s3cret-of-the-agent"
QUOTING = [
    encoded(event, **{name: value})
    for event in VALID
    for name in event
    for value in (SECRET, [SECRET], {SECRET: SECRET})
] + [
    encoded(ATTEMPTED, fault=SECRET),
    encoded(ATTEMPTED, fault=[SECRET]),
    spelt(FINISHED, "type", f'"{SECRET}", "type": "run.finished"'),
    spelt(FINISHED, "run_id", f'"{SECRET}'),
]


def refusal(value: bytes) -> str:
    try:
        parse_event(value)
    except InvalidRecord as error:
        return str(error)
    return ""


def test_refusal_never_quotes_the_record() -> None:
    """The detail is logged and stands in a header: agents' text must not get there."""
    refusals = list(filter(None, map(refusal, QUOTING)))

    assert len(refusals) > len(QUOTING) / 2
    assert [text for text in refusals if SECRET in text] == []
