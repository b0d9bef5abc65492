"""`pairstream dlt`: dead letters are shown as they are, and re-sent as they came."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest

from pairstream.letters import REPLAYED_FROM, Letter, choose, letter_topics, make_listing
from schemas.errors import PairstreamError
from schemas.topics import CONSUMED, GARBLE_REQUESTS, PAIRS, RUN_EVENTS, Names
from tests.commands.deployment import Deployment, attempted, mixed_run, started
from tests.conftest import Pairstream

EVENTS = RUN_EVENTS.name
TIME = datetime(2026, 11, 23, 10, tzinfo=UTC)
BAD_EVENT = b'{"type": "run.started", "run_id": "r-1"}'


@pytest.fixture
def deployment(embedded_broker: str, prefix: str, tmp_path: Path) -> Deployment:
    return Deployment(embedded_broker, prefix, tmp_path / "data")


def refuse_bad_event(deployment: Deployment, run_id: str = "r-1") -> tuple[int, int]:
    """An event without its prompts, which every worker refuses; returns its place."""
    place = deployment.send(deployment.names.topic(RUN_EVENTS), run_id.encode(), BAD_EVENT)
    deployment.settle()
    return place


def letters(deployment: Deployment, *flags: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = deployment.run_json("dlt", "list", *flags)["letters"]
    return found


# --- list ----------------------------------------------------------------------------------------


def test_a_letter_says_when_why_and_from_where(deployment: Deployment) -> None:
    partition, offset = refuse_bad_event(deployment)
    (record,) = deployment.records(deployment.names.dead_letters(RUN_EVENTS))

    (letter,) = letters(deployment)
    text = deployment.run("dlt", "list")

    sent_at = datetime.fromtimestamp(record.timestamp()[1] / 1000, UTC)
    assert datetime.fromisoformat(letter.pop("time")) == sent_at
    assert letter == {
        "topic": deployment.names.dead_letters(RUN_EVENTS),
        "partition": record.partition(),
        "offset": record.offset(),
        "reason": "invalid_event",
        "detail": "Object missing required field `time`",
        "service": "pairstream-worker",
        "source_topic": deployment.names.topic(RUN_EVENTS),
        "source_partition": partition,
        "source_offset": offset,
        "key": "r-1",
        "replayed_from": None,
    }
    assert f"from {letter['source_topic']} {partition}:{offset}  key r-1" in text
    assert "    Object missing required field `time`" in text


def test_counts_are_of_all_letters_and_the_list_has_the_newest(deployment: Deployment) -> None:
    for number in range(4):
        refuse_bad_event(deployment, f"r-{number}")
    deployment.say(attempted("r-9", 1, 0), attempted("r-9", 1, 5))
    deployment.settle()

    listing = deployment.run_json("dlt", "list", "--limit", 2)
    only_one_reason = deployment.run_json("dlt", "list", "--reason", "invalid_event")
    text = deployment.run("dlt", "list", "--limit", 0)

    assert listing["counts"] == {"invalid_event": 4, "conflicting_attempt": 1}
    assert listing["total"] == 5
    assert [letter["key"] for letter in listing["letters"]] == ["r-3", "r-9"]
    assert only_one_reason["counts"] == {"invalid_event": 4}
    assert [letter["key"] for letter in only_one_reason["letters"]] == ["r-0", "r-1", "r-2", "r-3"]
    assert text.splitlines() == [
        "the newest 0 of 5 are shown; --limit shows more",
        "       4 invalid_event",
        "       1 conflicting_attempt",
        "       5 in all",
    ]


def test_letters_of_all_topics_are_shown_or_of_one(deployment: Deployment) -> None:
    refuse_bad_event(deployment)
    for topic in (PAIRS, GARBLE_REQUESTS):
        deployment.send(deployment.names.dead_letters(topic), b"r-1", b"no row")

    everything = deployment.run_json("dlt", "list")
    of_pairs = letters(deployment, "--topic", PAIRS.name)

    assert everything["total"] == 3
    assert [letter["topic"] for letter in of_pairs] == [deployment.names.dead_letters(PAIRS)]


def test_a_record_that_is_no_letter_of_ours_has_an_unknown_reason(deployment: Deployment) -> None:
    deployment.send(deployment.names.dead_letters(PAIRS), None, b"\xff", headers=[("x", b"\xff")])

    (letter,) = letters(deployment)

    assert (letter["reason"], letter["key"], letter["source_topic"]) == ("unknown", None, None)


def test_no_character_of_a_letter_steers_the_terminal(deployment: Deployment) -> None:
    evil = "\x1b]0;owned\x07\u202e\n2026 forged line"
    named = {"reason": evil, "message": evil, "topic": evil}
    headers = [
        ("__connect.errors.exception.class.name", named["reason"].encode()),
        ("__connect.errors.exception.message", named["message"].encode()),
        ("__connect.errors.topic", named["topic"].encode()),
        (REPLAYED_FROM, evil.encode()),
    ]
    deployment.send(
        deployment.names.dead_letters(PAIRS), b"\xff" + evil.encode(), b"", headers=headers
    )

    text = deployment.run("dlt", "list")
    as_json = deployment.run("dlt", "list", "--json")

    assert all(character.isprintable() for line in text.split("\n") for character in line)
    assert not any(line.startswith("2026 forged") for line in text.splitlines())
    assert as_json.isascii()
    assert json.loads(as_json)["letters"][0]["reason"] == evil


# --- replay --------------------------------------------------------------------------------------


def test_a_letter_is_resent_with_its_bytes_and_headers_and_where_it_came_from(
    deployment: Deployment,
) -> None:
    events = deployment.names.topic(RUN_EVENTS)
    original = [("ce_id", b"\xff7"), ("empty", b""), ("none", None), ("ce_id", b"8")]
    deployment.send(events, b"r-1", BAD_EVENT, headers=original)
    deployment.settle()
    (letter,) = letters(deployment)

    said = deployment.run("dlt", "replay", "--yes")

    *_, resent = deployment.records(events)
    place = f"{letter['topic']}/{letter['partition']}/{letter['offset']}"
    assert (resent.key(), resent.value()) == (b"r-1", BAD_EVENT)
    assert resent.headers() == [*original, (REPLAYED_FROM, place.encode())]
    assert said == f"1 dead letter re-sent to {events} and acknowledged\n"


def test_each_letter_goes_to_the_topic_that_it_came_from(deployment: Deployment) -> None:
    for topic in CONSUMED:
        deployment.send(deployment.names.dead_letters(topic), b"r-1", topic.name.encode())

    deployment.run("dlt", "replay", "--yes")

    for topic in CONSUMED:
        (record,) = deployment.records(deployment.names.topic(topic))
        assert record.value() == topic.name.encode()


def test_a_letter_goes_nowhere_else_whatever_its_headers_say(deployment: Deployment) -> None:
    forged = [("__connect.errors.topic", deployment.names.topic(RUN_EVENTS).encode())]
    deployment.send(deployment.names.dead_letters(PAIRS), b"r-1", b"x", headers=forged)

    deployment.run("dlt", "replay", "--yes")

    assert len(deployment.records(deployment.names.topic(PAIRS))) == 1
    assert deployment.records(deployment.names.topic(RUN_EVENTS)) == []


def test_what_is_refused_again_is_shown_and_left_alone_until_asked_for(
    deployment: Deployment,
) -> None:
    refuse_bad_event(deployment)
    deployment.run("dlt", "replay", "--yes")
    deployment.settle()  # refuses it again

    first, second = letters(deployment)
    text = deployment.run("dlt", "list")
    again = deployment.run("dlt", "replay", "--yes")
    asked_for = deployment.run("dlt", "replay", "--yes", "--again")

    first_place = f"{first['topic']}/{first['partition']}/{first['offset']}"
    assert (first["replayed_from"], second["replayed_from"]) == (None, first_place)
    assert "re-sent, and refused again: a newer letter stands for it" in text
    assert f"re-sent from {first_place}, and refused again" in text
    assert again.splitlines() == [
        "1 left out: re-sent before, a newer letter stands for each",
        "1 left out: re-sent before and refused again (--again)",
        "no dead letters to re-send",
    ]
    assert "1 dead letter re-sent" in asked_for
    # The provenance names the letter that was re-sent last, and only that.
    *_, resent = deployment.records(deployment.names.topic(RUN_EVENTS))
    second_place = f"{second['topic']}/{second['partition']}/{second['offset']}"
    assert resent.headers() == [(REPLAYED_FROM, second_place.encode())]


def test_a_run_whose_events_are_resent_twice_gives_its_rows_once(deployment: Deployment) -> None:
    for event in mixed_run("r-1"):
        letter = json.dumps(event).encode()
        deployment.send(deployment.names.dead_letters(RUN_EVENTS), b"r-1", letter)

    deployment.run("dlt", "replay", "--yes")
    deployment.run("dlt", "replay", "--yes")
    deployment.settle()

    assert len(deployment.records(deployment.names.topic(RUN_EVENTS))) == 10
    assert len(deployment.records(deployment.names.topic(PAIRS))) == 1
    assert letters(deployment) != []  # they stay where they are, and none came back
    assert all(letter["replayed_from"] is None for letter in letters(deployment))


def test_only_the_letters_that_were_named_are_resent(deployment: Deployment) -> None:
    for run_id in ("r-1", "r-2", "r-3"):
        refuse_bad_event(deployment, run_id)
    deployment.say(started("r-4"), started("r-4", agent_id="another"))
    deployment.settle()
    wanted = letters(deployment)[1]
    at = f"{wanted['partition']}:{wanted['offset']}"

    deployment.run("dlt", "replay", "--yes", "--topic", EVENTS, "--at", at)
    deployment.run("dlt", "replay", "--yes", "--reason", "conflicting_start")

    topic = deployment.names.topic(RUN_EVENTS)
    resent = [r for r in deployment.records(topic) if r.headers() is not None]
    assert sorted(record.key() for record in resent) == [b"r-2", b"r-4"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["replay", "--at", "0:1"], 2, "--at needs --topic"),
        (["replay", "--topic", EVENTS, "--at", "1"], 2, "1 is no PARTITION:OFFSET"),
        (["replay", "--topic", EVENTS, "--at", "0:99"], 1, "1 of the places hold no such"),
        (["list", "--topic", "pairstream.scored-rows.v1"], 1, "has no dead letters: choose one"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    pairstream: Pairstream, deployment: Deployment, arguments: list[str], code: int, said: str
) -> None:
    done = pairstream("dlt", *arguments, env=deployment.env, check=False)

    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_without_topics_the_command_that_makes_them_is_named(
    pairstream: Pairstream, embedded_broker: str, prefix: str
) -> None:
    env = {"PAIRSTREAM_BOOTSTRAP_SERVERS": embedded_broker, "PAIRSTREAM_TOPIC_PREFIX": prefix}

    done = pairstream("dlt", "list", env=env, check=False)

    assert done.returncode == 1
    assert "run `pairstream topics apply`" in done.stderr


@pytest.mark.parametrize(
    ("flags", "answer", "code", "resent"),
    [([], b"n\n", 130, 0), ([], b"y\n", 0, 1), (["--yes"], b"", 0, 1)],
)
def test_on_a_terminal_it_asks_first(
    deployment: Deployment, flags: list[str], answer: bytes, code: int, resent: int
) -> None:
    refuse_bad_event(deployment)
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer)
        done = subprocess.run(
            [sys.executable, "-m", "pairstream", "dlt", "replay", *flags],
            stdin=theirs,
            capture_output=True,
            env={**os.environ, **deployment.env},
            timeout=60,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)

    topic = deployment.names.topic(RUN_EVENTS)
    assert done.returncode == code, done.stderr
    asked = f"Re-send 1 dead letter to {topic}?".encode()
    assert (asked in done.stdout + done.stderr) is bool(answer)
    assert sum(record.headers() is not None for record in deployment.records(topic)) == resent


# --- Pure ----------------------------------------------------------------------------------------


def letter(
    offset: int, *, reason: str = "invalid_event", replayed_from: str | None = None
) -> Letter:
    return Letter(
        topic="t-dlt",
        partition=0,
        offset=offset,
        time=TIME,
        reason=reason,
        detail="",
        service=None,
        source_topic="t",
        source_partition=0,
        source_offset=offset,
        key=None,
        replayed_from=replayed_from,
    )


# Letter 0 was re-sent and came back as 2, which was re-sent and came back as 3; 1 never was.
HISTORY = [
    letter(0),
    letter(1, reason="run_settled"),
    letter(2, replayed_from="t-dlt/0/0"),
    letter(3, reason="run_settled", replayed_from="t-dlt/0/2"),
]


@pytest.mark.parametrize(
    ("reason", "at", "again", "chosen", "superseded", "refused_again"),
    [
        (None, None, False, [1], 2, 1),
        (None, None, True, [1, 3], 2, 0),
        ("run_settled", None, False, [1], 0, 1),
        ("invalid_event", None, True, [], 2, 0),
        (None, {(0, 1)}, False, [1], 0, 0),
        (None, {(0, 3)}, False, [], 0, 1),
        (None, {(0, 3)}, True, [3], 0, 0),
        (None, {(0, 0)}, True, [], 1, 0),
        (None, {(1, 1)}, True, [], 0, 0),
        ("invalid_event", {(0, 1)}, False, [], 0, 0),
    ],
)
def test_the_newest_letter_of_a_record_stands_for_it(
    reason: str | None,
    at: set[tuple[int, int]] | None,
    again: bool,
    chosen: list[int],
    superseded: int,
    refused_again: int,
) -> None:
    choice = choose(HISTORY, reason=reason, at=at, again=again)

    assert [letter.offset for letter in choice.chosen] == chosen
    assert (choice.superseded, choice.refused_again) == (superseded, refused_again)


@pytest.mark.parametrize(
    ("limit", "shown", "superseded"),
    [(10, [0, 1, 2, 3], [0, 2]), (2, [2, 3], [2]), (1, [3], []), (0, [], [])],
)
def test_a_listing_marks_what_has_a_newer_letter(
    limit: int, shown: Sequence[int], superseded: Sequence[int]
) -> None:
    listing = make_listing(HISTORY, reason=None, limit=limit)

    assert [letter.offset for letter in listing.letters] == list(shown)
    assert listing.superseded == [f"t-dlt/0/{offset}" for offset in superseded]
    assert (listing.counts, listing.total) == ({"invalid_event": 2, "run_settled": 2}, 4)


@pytest.mark.parametrize(
    "asked",
    [EVENTS, f"{EVENTS}-dlt", f"p.{EVENTS}", f"p.{EVENTS}-dlt"],
)
def test_a_topic_may_be_named_as_it_is_shown_anywhere(asked: str) -> None:
    assert letter_topics(Names("p."), asked) == {f"p.{EVENTS}-dlt": f"p.{EVENTS}"}


def test_a_topic_without_dead_letters_is_refused_with_the_choices() -> None:
    with pytest.raises(PairstreamError, match=EVENTS):
        letter_topics(Names("p."), "q." + EVENTS)


@pytest.mark.parametrize("name", ["list", "replay"])
def test_help_has_an_example(name: str) -> None:
    from pairstream.commands.dlt import command

    shown = command.get_command(click.Context(command), name)
    assert shown is not None
    assert "Example:" in (shown.help or "")
