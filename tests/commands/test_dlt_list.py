"""`pairstream dlt list`: dead letters are shown as they are, and found by what they are."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from pairstream.letter_views import Listing, make_listing
from pairstream.letters import REPLAYED_FROM, LetterBox, Wanted
from pairstream.letters_text import listing_lines
from schemas.topics import CONSUMED, GARBLE_REQUESTS, PAIRS, RUN_EVENTS
from tests.commands.deployment import Deployment, attempted
from tests.commands.test_dlt import (
    HISTORY,
    HOUR,
    TIME,
    letters,
    made_letter,
    place_of,
    refuse_bad_event,
    write_letter,
)


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
        "run_id": "r-1",
        "replayed_from": None,
        "is_cut": False,
        "sha256": letter["sha256"],
    }
    source = f"{letter['source_topic']}/{partition}/{offset}"
    assert f"invalid_event  {place_of(letter)}  from {source}  key r-1" in text
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


def test_letters_are_found_by_time(deployment: Deployment) -> None:
    for number in range(4):
        write_letter(deployment, f"r-{number}".encode(), time=TIME + number * HOUR)

    since, until = (TIME + HOUR).isoformat(), (TIME + 3 * HOUR).isoformat()
    found = {
        flags: [letter["key"] for letter in letters(deployment, *flags)]
        for flags in [("--since", since), ("--until", until), ("--since", since, "--until", until)]
    }

    assert list(found.values()) == [
        ["r-1", "r-2", "r-3"],
        ["r-0", "r-1", "r-2"],
        ["r-1", "r-2"],
    ]


def test_what_is_older_is_not_read(deployment: Deployment) -> None:
    for number in range(3):
        write_letter(deployment, f"r-{number}".encode(), time=TIME + number * HOUR)
    box = LetterBox(deployment.settings, [deployment.names.dead_letters(RUN_EVENTS)])

    assert [letter.key for letter in box.letters(since=TIME + HOUR)] == ["r-1", "r-2"]


def test_letters_of_a_run_are_found_by_their_key_or_by_the_run_that_they_name(
    deployment: Deployment,
) -> None:
    write_letter(deployment, b"r-1", b"no event at all")
    write_letter(deployment, None, b'{"run_id": "r-1", "score": 1e999, "score": []}')
    write_letter(deployment, b"r-2", b'{"run_id": "r-1"}')
    write_letter(deployment, b"r-10", b'{"run_id": "r-10", "about": "r-1"}')
    write_letter(deployment, b"\xff", b'["r-1"]')

    found = letters(deployment, "--run", "r-1")
    text = deployment.run("dlt", "list", "--run", "r-2")

    assert [(letter["key"], letter["run_id"]) for letter in found] == [
        ("r-1", None),
        (None, "r-1"),
        ("r-2", "r-1"),
    ]
    assert "    its value names the run r-1" in text.splitlines()


def test_an_empty_list_says_what_was_looked_at_and_what_it_means(deployment: Deployment) -> None:
    topics = ", ".join(map(deployment.names.dead_letters, CONSUMED))

    assert deployment.run("dlt", "list").splitlines() == [
        "no dead letters",
        f"    looked at 0 dead letters in {topics}",
        "    so nothing was refused of what workers and trainers have read, as far back as these "
        "topics are kept",
        "    what they have still to read, `pairstream status` shows as lag",
    ]


def test_where_no_letter_fits_the_filters_are_named(deployment: Deployment) -> None:
    write_letter(deployment, b"r-1")
    of_run = ["--reason", "run_setled", "--run", "r-\x1b1", "--since", TIME.isoformat()]

    said = deployment.run("dlt", "list", "--topic", RUN_EVENTS.name, *of_run, "--until", "1s")

    first, second, third = said.splitlines()
    assert first.startswith(
        "no dead letters (reason run_setled, run r-\\x1b1, since 2026-11-23T10:00:00Z, until 20"
    )
    topic = deployment.names.dead_letters(RUN_EVENTS)
    assert second == f"    looked at 1 dead letter in {topic}"
    assert third == "    others may be there: leave out a filter to see them"


@pytest.mark.parametrize("value", [None, b"x"])
def test_a_record_that_is_no_letter_of_ours_has_an_unknown_reason(
    deployment: Deployment, value: bytes | None
) -> None:
    digits = ("__connect.errors.offset", b"9" * 5000)
    topic = deployment.names.dead_letters(PAIRS)
    deployment.send(topic, None, value, headers=[("x", b"\xff"), digits])

    (letter,) = letters(deployment)

    assert (letter["reason"], letter["key"], letter["source_topic"]) == ("unknown", None, None)
    assert (letter["run_id"], letter["source_offset"]) == (None, None)


def test_no_character_of_a_letter_steers_the_terminal(deployment: Deployment) -> None:
    evil = "\x1b]0;owned\x07\u202e\n2026 forged line"
    headers = [
        ("__connect.errors.exception.class.name", evil.encode()),
        ("__connect.errors.exception.message", evil.encode()),
        ("__connect.errors.topic", evil.encode()),
        (REPLAYED_FROM, evil.encode()),
    ]
    topic = deployment.names.dead_letters(PAIRS)
    value = json.dumps({"run_id": evil}).encode()
    deployment.send(topic, b"\xff" + evil.encode(), value, headers=headers)

    text = deployment.run("dlt", "list")
    as_json = deployment.run("dlt", "list", "--json")

    assert all(character.isprintable() for line in text.split("\n") for character in line)
    assert not any(line.startswith("2026 forged") for line in text.splitlines())
    assert as_json.isascii()
    assert json.loads(as_json)["letters"][0]["reason"] == evil
    assert json.loads(as_json)["letters"][0]["run_id"] == evil


@pytest.mark.parametrize(
    ("limit", "shown", "superseded"),
    [(10, [0, 1, 2, 3], [0, 2]), (2, [2, 3], [2]), (1, [3], []), (0, [], [])],
)
def test_a_listing_marks_what_has_a_newer_letter(
    limit: int, shown: Sequence[int], superseded: Sequence[int]
) -> None:
    listing = make_listing(HISTORY, Wanted(), limit=limit)

    assert [letter.offset for letter in listing.letters] == list(shown)
    assert listing.superseded == [f"t-dlt/0/{offset}" for offset in superseded]
    assert (listing.counts, listing.total) == ({"invalid_event": 2, "run_settled": 2}, 4)


def test_a_newer_letter_that_was_not_asked_for_is_still_told_of() -> None:
    listing = make_listing(HISTORY, Wanted(until=HISTORY[1].time), limit=10)

    assert [letter.offset for letter in listing.letters] == [0]
    assert listing.superseded == ["t-dlt/0/0"]
    assert (listing.total, listing.looked_at) == (1, 4)


@pytest.mark.parametrize(
    ("shown", "total", "said"),
    [
        (1, 5, "the newest 1 of 5 is shown; --limit shows more"),
        (2, 5, "the newest 2 of 5 are shown; --limit shows more"),
    ],
)
def test_numbers_agree_with_their_verbs(shown: int, total: int, said: str) -> None:
    newest = [made_letter(offset) for offset in range(shown)]
    listing = Listing(newest, [], {"invalid_event": total}, total, total)

    assert said in listing_lines(listing, Wanted(), ["t-dlt"])
