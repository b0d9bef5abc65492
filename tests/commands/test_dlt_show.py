"""`pairstream dlt show`: one dead letter whole, safe for terminals, and its exact bytes."""

import base64
import json
import os
import pty
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairstream.letter_views import Record
from pairstream.letters_text import JSON_DEPTH, record_lines
from pairstream.terminal import as_json_text
from schemas.topics import RUN_EVENTS
from tests.commands.deployment import Deployment
from tests.commands.test_dlt import (
    BAD_EVENT,
    letters,
    made_letter,
    place_of,
    refuse_bad_event,
    write_letter,
)


def value_lines(value: bytes | None, text: str | None = None) -> list[str]:
    """How `show` gives a value; `text` where it is UTF-8."""
    record = Record(made_letter(0), [], None, value, text)
    lines = "\n".join(record_lines(record)).split("\n")
    begin = next(number for number, line in enumerate(lines) if line.startswith("value "))
    return lines[begin:]


def test_a_letter_is_shown_whole(deployment: Deployment) -> None:
    original = [("ce_id", b"7"), ("none", None), ("binary", b"\xff\x1b")]
    place = write_letter(deployment, b"r-1", original=original)
    write_letter(deployment, b"r-2")
    events = deployment.names.topic(RUN_EVENTS)

    shown = deployment.run("dlt", "show", place)

    assert shown.splitlines() == [
        f"dead letter   {place}",
        "time          2026-11-23T10:00:00Z",
        "reason        invalid_event",
        "detail        it is bad",
        "refused by    pairstream-worker",
        f"came from     {events}/3/18",
        "key           r-1",
        "run           r-1",
        "headers",
        "    ce_id: 7",
        "    none: none",
        "    binary: \\xff\\x1b",
        f"    __connect.errors.topic: {events}",
        "    __connect.errors.partition: 3",
        "    __connect.errors.offset: 18",
        "    __connect.errors.connector.name: pairstream-worker",
        "    __connect.errors.stage: VALUE_CONVERTER",
        "    __connect.errors.exception.class.name: invalid_event",
        "    __connect.errors.exception.message: invalid_event: it is bad",
        "value         40 bytes of JSON:",
        "    {",
        '      "type": "run.started",',
        '      "run_id": "r-1"',
        "    }",
    ]


def test_the_place_that_list_prints_is_the_one_that_show_takes(deployment: Deployment) -> None:
    refuse_bad_event(deployment)
    _, _, place, *_ = deployment.run("dlt", "list").split()

    assert deployment.run("dlt", "show", place).startswith(f"dead letter   {place}\n")


def test_json_has_the_same_facts_and_every_byte(deployment: Deployment) -> None:
    write_letter(deployment, b"\xffr", b"\xff\x00", original=[("ce_id", b"\xff"), ("none", None)])
    (letter,) = letters(deployment)

    shown = deployment.run_json("dlt", "show", place_of(letter))

    assert shown["letter"] == letter
    assert shown["headers"][:2] == [["ce_id", base64.b64encode(b"\xff").decode()], ["none", None]]
    assert base64.b64decode(shown["key"]) == b"\xffr"
    assert base64.b64decode(shown["value"]) == b"\xff\x00"
    assert shown["text"] is None


@pytest.mark.parametrize("value", [BAD_EVENT, b"\x00\xff\r\n\x1b]0;owned\x07", b"", None])
def test_raw_is_the_exact_value(deployment: Deployment, value: bytes | None) -> None:
    place = write_letter(deployment, b"r-1", value)

    done = subprocess.run(
        [sys.executable, "-m", "pairstream", "dlt", "show", place, "--raw"],
        capture_output=True,
        env={**os.environ, **deployment.env},
        timeout=60,
        check=True,
    )

    assert done.stdout == (value or b"")


def test_raw_bytes_never_go_to_a_terminal(deployment: Deployment) -> None:
    place = write_letter(deployment, b"r-1", b"\x1b]0;owned\x07")
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pairstream", "dlt", "show", place, "--raw"],
            stdout=theirs,
            stderr=subprocess.PIPE,
            env={**os.environ, **deployment.env},
            timeout=60,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)

    assert done.returncode == 2
    assert b"send it to a file or a pipe" in done.stderr


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (None, ["value         none"]),
        (b"", ["value         0 bytes"]),
        (b"7", ["value         1 byte of JSON:", "    7"]),
        (b"{}x\n\x1b[2J", ["value         8 bytes of text:", "    {}x", "    \\x1b[2J"]),
        (
            # What is wrong may be that a name is there twice, or a number too large: nothing is
            # changed.
            b'{"a":1e999,"a":1.0000000000000000001}',
            [
                "value         37 bytes of JSON:",
                "    {",
                '      "a": 1e999,',
                '      "a": 1.0000000000000000001',
                "    }",
            ],
        ),
        (
            '["\u202e"]'.encode(),
            ["value         7 bytes of JSON:", "    [", '      "\\u202e"', "    ]"],
        ),
        (b'{"a":NaN}', ["value         9 bytes of text:", '    {"a":NaN}']),
        (
            b"\xff" + bytes(range(0x2D, 0x3E)),
            [
                "value         18 bytes, no UTF-8:",
                "    00000000  ff 2d 2e 2f 30 31 32 33 34 35 36 37 38 39 3a 3b  .-./0123456789:;",
                "    00000010  3c 3d                                            <=",
            ],
        ),
    ],
)
def test_a_value_is_json_or_text_or_a_dump(
    deployment: Deployment, value: bytes | None, lines: list[str]
) -> None:
    place = write_letter(deployment, b"r-1", value)

    shown = deployment.run("dlt", "show", place).rstrip("\n").split("\n")

    assert shown[-len(lines) :] == lines


def nested(depth: int) -> str:
    return "[" * depth + '"[{"' + "]" * depth


@pytest.mark.parametrize(
    ("depth", "kind"),
    [(JSON_DEPTH, "JSON"), (JSON_DEPTH + 1, "text"), (100_000, "text")],
)
def test_deep_json_is_shown_as_it_came(depth: int, kind: str) -> None:
    text = nested(depth)

    label, *lines = value_lines(text.encode(), text)

    assert label.endswith(f"of {kind}:")
    assert "".join(line.strip() for line in lines) == text


texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.binary() | texts.map(str.encode) | texts.map(lambda text: json.dumps(text).encode())


@given(value=values)
def test_no_value_steers_the_terminal(value: bytes) -> None:
    try:
        text: str | None = value.decode()
    except UnicodeDecodeError:
        text = None

    shown = value_lines(value, text)

    assert all(line.isprintable() for line in shown)
    assert all(line.startswith("    ") for line in shown[1:])


@given(evil=texts)
def test_no_header_steers_the_terminal_or_forges_a_line(evil: str) -> None:
    fields = {"reason", "detail", "service", "source_topic", "key", "run_id", "replayed_from"}
    letter = made_letter(0, **dict.fromkeys(fields, evil))
    headers: list[tuple[str, bytes | None]] = [(evil, evil.encode()), (evil, b"\xff")]
    record = Record(letter, headers, None, b"", "")

    lines = list(record_lines(record))

    assert all(line.isprintable() for line in lines)
    assert sum(line.startswith("    ") for line in lines) == len(headers)
    assert msgspec.json.decode(as_json_text(record))["headers"][0][0] == evil
