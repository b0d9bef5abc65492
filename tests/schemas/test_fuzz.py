"""Whatever stands in the log, the decoder gives an event, None or a refusal: it never fails."""

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.errors import InvalidRecord
from schemas.events import Event, parse_event, run_id_of_unknown
from schemas.rows import Row, encode, parse_garble_request, parse_pair
from streams.partition import Partition
from streams.runs import DIGEST_BYTES, event_digest
from tests.schemas.examples import FILES
from tests.schemas.wire import FINISHED, VALID, encoded

MODEST = settings(max_examples=250, deadline=None, derandomize=True, database=None)

ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(("1", "run.finished", "\ud800", "2026-11-23T10:00:00Z")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid value with some of its bytes gone, doubled or replaced."""
    value = bytearray(
        draw(st.sampled_from([*map(encoded, VALID), *(f.read_bytes() for f in FILES)]))
    )
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(value)))
        end = min(len(value), start + draw(st.integers(0, 6)))
        value[start:end] = draw(
            st.sampled_from(
                (b"", b'"', b"{", b"]", b"0", b"-1", b"null", b"\\", b"\xff", b'"x":1,')
            )
            | st.binary(max_size=4)
            | st.just(bytes(value[start:end]) * 2)
        )
    return bytes(value)


@st.composite
def misshapen(draw: st.DrawFn) -> bytes:
    """A valid event with fields of any shape, more of them, or fewer."""
    event: dict[str, Any] = dict(draw(st.sampled_from(VALID)))
    for name in draw(st.lists(st.sampled_from([*event, "fault", "error", "more"]), max_size=3)):
        event[name] = draw(ANY_JSON)
    for name in draw(st.lists(st.sampled_from(sorted(event)), max_size=1)):
        del event[name]
    return json.dumps(event).encode()


VALUES = st.binary(max_size=40) | damaged() | misshapen()


def answer(parse: Callable[[bytes], object], value: bytes) -> object:
    """What it gives, or its refusal; any other error is the test's failure."""
    try:
        return parse(value)
    except InvalidRecord as refused:
        return refused


@MODEST
@given(VALUES)
@example(b'{"type": "run.finished", "run_id": 5, "time')
def test_decoder_never_fails(value: bytes) -> None:
    event = answer(parse_event, value)

    if isinstance(event, InvalidRecord):
        assert event.reason == "invalid_event"
    elif event is not None:
        assert isinstance(event, Event)
        assert event.run_id == json.loads(value)["run_id"]
        assert event.run_id.encode().decode() == event.run_id
        assert len(event_digest(event)) == DIGEST_BYTES


@MODEST
@given(VALUES)
def test_what_is_not_json_is_refused(value: bytes) -> None:
    """Also in parts of an event that the decoder has no use for."""
    assert is_json(value) or isinstance(answer(parse_event, value), InvalidRecord)


def is_json(value: bytes) -> bool:
    """By Python's own parser, less the words that JSON has not."""
    try:
        json.loads(value.decode(), parse_constant=_no_constant)
    except ValueError:
        return False
    return True


def _no_constant(name: str) -> None:
    raise ValueError(name)


@MODEST
@given(VALUES)
def test_run_of_an_unknown_event_never_fails(value: bytes) -> None:
    if answer(parse_event, value) is None:
        run_id = answer(run_id_of_unknown, value)

        assert isinstance(run_id, InvalidRecord) or str(run_id).encode()


@MODEST
@given(VALUES)
@pytest.mark.parametrize("parse", [parse_pair, parse_garble_request])
def test_reader_of_rows_never_fails(parse: Callable[[bytes], Row], value: bytes) -> None:
    row = answer(parse, value)

    if isinstance(row, InvalidRecord):
        assert row.reason == "invalid_row"
    else:
        assert encode(cast("Row", row)).decode()


@MODEST
@given(st.lists(VALUES, max_size=4), st.sampled_from([None, b"r-1"]))
def test_partition_never_fails(values: list[bytes], key: bytes | None) -> None:
    log = [(key, value, place) for place, value in enumerate([*values, encoded(FINISHED)])]
    effects = Partition(extended=True).apply(log, now_ms=0)

    assert len(effects.refused) + effects.skipped <= len(log)
    assert bool(effects.rows) == (key == b"r-1")
