"""`pairstream dlt replay`: letters are re-sent as they came, those chosen, and never in a loop."""

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from pairstream.letter_views import make_listing
from pairstream.letters import REPLAYED_FROM, Choice, Wanted, choose
from pairstream.letters_text import left_out_lines
from schemas.dead_letters import VALUE_CUT
from schemas.topics import CONSUMED, PAIRS, RUN_EVENTS
from tests.commands.deployment import Deployment, mixed_run, started
from tests.commands.test_dlt import (
    BAD_EVENT,
    HISTORY,
    HOUR,
    TIME,
    letters,
    made_letter,
    place_of,
    refuse_bad_event,
    write_letter,
)


def resent_keys(deployment: Deployment) -> list[bytes]:
    """Of the records that the events topic has from replays."""
    records = deployment.records(deployment.names.topic(RUN_EVENTS))
    headers = [(record.key(), dict(record.headers() or [])) for record in records]
    return sorted(key for key, named in headers if REPLAYED_FROM in named)


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
    place = place_of(letter)
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

    first_place = place_of(first)
    assert (first["replayed_from"], second["replayed_from"]) == (None, first_place)
    assert "re-sent, and refused again: a newer letter stands for it" in text
    assert f"re-sent from {first_place}, and refused again" in text
    assert again.splitlines() == [
        "1 left out: re-sent before, a newer letter stands for it",
        "1 left out: re-sent before and refused again (--again)",
        "no dead letters to re-send",
    ]
    assert "1 dead letter re-sent" in asked_for
    # The provenance names the letter that was re-sent last, and only that.
    *_, resent = deployment.records(deployment.names.topic(RUN_EVENTS))
    assert resent.headers() == [(REPLAYED_FROM, place_of(second).encode())]


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


@pytest.mark.parametrize("flags", [
    ["--run", "r-1"],
    ["--reason", "invalid_event"],
    ["--topic", RUN_EVENTS.name],
    ["--since", "1h"],
    ["--until", "2100-01-01"],
    ["--at"],
])  # fmt: skip
def test_however_it_is_chosen_what_came_back_is_not_sent_again(
    deployment: Deployment, flags: list[str]
) -> None:
    refuse_bad_event(deployment)
    deployment.run("dlt", "replay", "--yes", *_completed(flags, letters(deployment)))
    deployment.settle()  # refuses it again
    flags = _completed(flags, letters(deployment))

    for _ in range(2):
        assert "no dead letters to re-send" in deployment.run("dlt", "replay", "--yes", *flags)
        deployment.settle()

    assert len(letters(deployment)) == 2
    assert resent_keys(deployment) == [b"r-1"]


def _completed(flags: list[str], found: list[dict[str, Any]]) -> list[str]:
    """`--at` with the places of all letters."""
    if flags != ["--at"]:
        return flags
    return [word for letter in found for word in ("--at", place_of(letter))]


def test_only_the_letters_that_were_named_are_resent(deployment: Deployment) -> None:
    for run_id in ("r-1", "r-2", "r-3"):
        refuse_bad_event(deployment, run_id)
    deployment.say(started("r-4"), started("r-4", agent_id="another"))
    deployment.settle()
    wanted = letters(deployment)[1]

    deployment.run("dlt", "replay", "--yes", "--at", place_of(wanted))
    deployment.run("dlt", "replay", "--yes", "--reason", "conflicting_start")

    assert resent_keys(deployment) == [b"r-2", b"r-4"]


@pytest.mark.parametrize(
    ("flags", "resent"),
    [
        (["--run", "r-1"], [b"r-1", b"r-2"]),
        (["--since", (TIME + HOUR).isoformat()], [b"r-2", b"r-3"]),
        (["--until", (TIME + HOUR).isoformat()], [b"r-1"]),
        (["--run", "r-1", "--since", (TIME + HOUR).isoformat()], [b"r-2"]),
        (["--reason", "run_settled", "--run", "r-1"], []),
        (["--reason", "run_settled"], [b"r-3"]),
    ],
)
def test_the_filters_of_list_choose_what_is_resent(
    deployment: Deployment, flags: list[str], resent: list[bytes]
) -> None:
    write_letter(deployment, b"r-1", b"no event")
    write_letter(deployment, b"r-2", b'{"run_id": "r-1"}', time=TIME + HOUR)
    write_letter(deployment, b"r-3", time=TIME + 2 * HOUR, reason="run_settled", value=b"{}")

    listed = [letter["key"].encode() for letter in letters(deployment, *flags)]
    deployment.run("dlt", "replay", "--yes", *flags)

    assert listed == resent
    assert resent_keys(deployment) == resent


def test_a_letter_that_an_older_clock_stamped_still_stands_for_the_one_before(
    deployment: Deployment,
) -> None:
    first = write_letter(deployment, None, time=TIME)
    came_back = [(REPLAYED_FROM, first.encode())]
    # Without a key, it may come back to another partition.
    write_letter(deployment, None, time=TIME - HOUR, original=came_back, partition=1)

    said = deployment.run("dlt", "replay", "--yes", "--since", TIME.isoformat())

    assert said.splitlines() == [
        "1 left out: re-sent before, a newer letter stands for it",
        "no dead letters to re-send",
    ]


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(deployment: Deployment) -> None:
    first = write_letter(deployment, b"r-1")
    write_letter(deployment, b"r-2", reason="run_settled")

    said = deployment.run("dlt", "replay", "--dry-run", "--reason", "invalid_event")

    events = deployment.names.topic(RUN_EVENTS)
    assert said.splitlines() == [
        f"2026-11-23T10:00:00Z  invalid_event  {first}  from {events}/3/18  key r-1",
        "    it is bad",
        f"    would be re-sent to {events}",
        "nothing was sent: 1 dead letter would be re-sent",
    ]
    assert deployment.records(events) == []


def test_where_nothing_fits_it_says_what_was_looked_at(deployment: Deployment) -> None:
    write_letter(deployment, b"r-1")

    said = deployment.run("dlt", "replay", "--yes", "--run", "r-9").splitlines()

    assert said[0] == "no dead letters (run r-9)"
    assert said[1].startswith("    looked at 1 dead letter in ")


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


@pytest.mark.parametrize(
    ("wanted", "again", "chosen", "superseded", "refused_again"),
    [
        ({}, False, [1], 2, 1),
        ({}, True, [1, 3], 2, 0),
        ({"reason": "run_settled"}, False, [1], 0, 1),
        ({"reason": "invalid_event"}, True, [], 2, 0),
        ({"run_id": "r-1"}, True, [1], 1, 0),
        ({"run_id": "r-3"}, False, [], 0, 1),
        ({"run_id": "r-3"}, True, [3], 0, 0),
        ({"since": HISTORY[3].time}, False, [], 0, 1),
        ({"until": HISTORY[1].time}, True, [], 1, 0),
        ({"since": HISTORY[1].time, "until": HISTORY[3].time}, True, [1], 1, 0),
        ({"places": {"t-dlt/0/1"}}, False, [1], 0, 0),
        ({"places": {"t-dlt/0/3"}}, False, [], 0, 1),
        ({"places": {"t-dlt/0/3"}}, True, [3], 0, 0),
        ({"places": {"t-dlt/0/0"}}, True, [], 1, 0),
    ],
)
def test_the_newest_letter_of_a_record_stands_for_it(
    wanted: dict[str, Any], again: bool, chosen: list[int], superseded: int, refused_again: int
) -> None:
    choice = choose(HISTORY, Wanted(**wanted), again=again)

    assert [letter.offset for letter in choice.chosen] == chosen
    assert (choice.superseded, choice.refused_again) == (superseded, refused_again)
    assert choice.missing == []


def test_a_header_that_an_agent_wrote_hides_no_letter_of_another_record() -> None:
    """Letter 2 says that it is letter 0, re-sent; 3 that it is one which is no longer there."""
    history = [
        made_letter(0, sha256="a"),
        made_letter(1, sha256="b"),
        made_letter(2, sha256="c", replayed_from="t-dlt/0/0"),
        made_letter(3, sha256="d", replayed_from="t-dlt/0/99"),
    ]

    choice = choose(history, Wanted(), again=False)

    assert [letter.offset for letter in choice.chosen] == [0, 1, 2]
    assert (choice.superseded, choice.refused_again) == (0, 1)
    assert make_listing(history, Wanted(), limit=10).superseded == []


def test_such_a_header_hides_none_on_a_broker(deployment: Deployment) -> None:
    events, dlt = (of(RUN_EVENTS) for of in (deployment.names.topic, deployment.names.dead_letters))
    deployment.send(events, b"r-1", BAD_EVENT)
    deployment.settle()
    (hidden,) = letters(deployment)
    deployment.send(
        events, b"r-1", BAD_EVENT + b" ", headers=[(REPLAYED_FROM, place_of(hidden).encode())]
    )
    deployment.settle()

    deployment.run("dlt", "replay", "--yes")

    assert len(deployment.records(dlt)) == 2
    assert resent_keys(deployment) == [b"r-1"] * 3  # the agent's own, and both letters


def test_a_letter_with_a_part_of_its_record_is_named_and_not_sent(deployment: Deployment) -> None:
    write_letter(deployment, b"whole")
    dlt = deployment.names.dead_letters(RUN_EVENTS)
    cut_headers = [(VALUE_CUT, b"99 bytes, SHA-256 00")]
    deployment.send(dlt, b"part", BAD_EVENT[:9], headers=cut_headers)

    said = deployment.run("dlt", "replay", "--yes")

    [cut] = [letter for letter in letters(deployment) if letter["is_cut"]]
    assert cut["key"] == "part"
    assert "1 left out: too large, so that only a part of the record" in said
    assert place_of(cut) in said
    assert resent_keys(deployment) == [b"whole"]
    assert "is in the letter" in deployment.run("dlt", "list")


@pytest.mark.parametrize(
    ("places", "reason", "missing"),
    [
        ({"t-dlt/0/1", "t-dlt/1/1"}, None, ["t-dlt/1/1"]),
        ({"t-dlt/0/1", "t-dlt/0/0"}, "invalid_event", ["t-dlt/0/1"]),
    ],
)
def test_a_place_that_holds_no_such_letter_is_named(
    places: set[str], reason: str | None, missing: list[str]
) -> None:
    wanted = Wanted(places=frozenset(places), reason=reason)

    assert choose(HISTORY, wanted, again=True).missing == missing


@pytest.mark.parametrize(
    ("superseded", "said"),
    [
        (1, "1 left out: re-sent before, a newer letter stands for it"),
        (2, "2 left out: re-sent before, newer letters stand for them"),
    ],
)
def test_numbers_agree_with_their_nouns(superseded: int, said: str) -> None:
    choice = Choice(
        chosen=HISTORY[:1], superseded=superseded, refused_again=0, missing=[], looked_at=4
    )

    assert list(left_out_lines(choice, Wanted(), ["t-dlt"])) == [said]
