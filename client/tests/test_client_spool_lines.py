"""An event's line in a spool: the same bytes come back, and nothing else is taken for one."""

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pairstream_client.events import Event, encode, run_finished
from pairstream_client.spool_lines import event_of, to_line
from pairstream_client.spool_segments import CHUNK_BYTES, FileSegment
from pairstream_client.spool_shelf import Shelf

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
# Texts that look like the frame of a line, or do not fit into what is read at once.
HARD_TEXTS = st.sampled_from(['","value":', '"value":{}}\n', '{"crc":"', "\\", "x" * CHUNK_BYTES])


@st.composite
def events(draw: st.DrawFn) -> Event:
    return encode(
        run_finished() | {"note": draw(TEXTS | HARD_TEXTS)},
        run_id=draw(TEXTS.filter(bool) | st.just('","value":')),
        time="2026-11-24T12:00:00Z",
        event_id=draw(TEXTS),
        source=draw(TEXTS | HARD_TEXTS),
    )


EVENTS = events()


@given(EVENTS)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    assert event_of(to_line(event)) == event


@given(EVENTS)
def test_a_line_is_one_line_of_json_that_a_person_can_read(event: Event) -> None:
    line = to_line(event)

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    shown = json.loads(line)
    assert shown["key"] == event.key.decode()
    assert shown["value"] == json.loads(event.value)


@given(EVENTS, st.data())
def test_a_changed_byte_is_seen(event: Event, data: st.DataObject) -> None:
    line = bytearray(to_line(event))
    place = data.draw(st.integers(0, len(line) - 1))
    line[place] ^= data.draw(st.integers(1, 255))

    assert event_of(bytes(line)) is None


def _events_in(content: bytes, folder: Path) -> list[Event | None]:
    path = folder / "00000001.jsonl"
    path.write_bytes(content)
    shelf = Shelf([FileSegment(path)], adopted=True)
    read = []
    while (taken := shelf.take()) is not None:
        read.append(event_of(taken.line))
    shelf.close()
    return read


@settings(deadline=None)
@given(st.lists(EVENTS, max_size=3), st.data())
def test_of_a_file_that_ends_early_the_events_before_the_end_are_read(
    recorded: list[Event], data: st.DataObject
) -> None:
    lines = [to_line(event) for event in recorded]
    whole = b"".join(lines)
    size = data.draw(st.integers(0, len(whole)))
    complete = [e for n, e in enumerate(recorded) if len(b"".join(lines[: n + 1])) <= size]
    torn = [None] if size > sum(len(line) for line in lines[: len(complete)]) else []

    with tempfile.TemporaryDirectory() as folder:
        assert _events_in(whole[:size], Path(folder)) == complete + torn


def test_at_every_length_of_a_file_its_whole_events_are_read(tmp_path: Path) -> None:
    recorded = [
        encode(run_finished(), run_id=f"run {n}", time="", event_id="", source="ü") for n in "123"
    ]
    lines = [to_line(event) for event in recorded]
    whole = b"".join(lines)
    ends = {0, *(len(b"".join(lines[: n + 1])) for n in range(len(lines)))}

    for size in range(len(whole) + 1):
        read = _events_in(whole[:size], tmp_path)
        torn = [None] if size not in ends else []
        assert read == recorded[: sum(end <= size for end in ends) - 1] + torn


@given(EVENTS, EVENTS, st.binary(min_size=1, max_size=50))
@settings(deadline=None)
def test_damage_between_events_costs_no_other_event(
    first: Event, second: Event, damage: bytes
) -> None:
    content = to_line(first) + damage + b"\n" + to_line(second)

    with tempfile.TemporaryDirectory() as folder:
        read = _events_in(content, Path(folder))

    assert [event for event in read if event is not None] == [first, second]
    assert None in read
