"""Headers of dead letters, by the names that Kafka Connect's tools read (KIP-298)."""

import pytest

from schemas import dead_letters
from schemas.dead_letters import Header, Origin

ORIGIN = Origin("pairstream.run-events.v1", 3, 41)
CAME_WITH: list[Header] = [("ce_source", b"agent"), ("empty", None), ("bytes", b"\xff")]


def refuse(
    original: list[Header], *, origin: Origin = ORIGIN, reason: str = "invalid_event"
) -> list[Header]:
    return dead_letters.headers(
        origin, reason=reason, detail="not JSON", service="worker", original=original
    )


def test_dead_letter_says_where_from_and_why() -> None:
    assert refuse([]) == [
        ("__connect.errors.topic", b"pairstream.run-events.v1"),
        ("__connect.errors.partition", b"3"),
        ("__connect.errors.offset", b"41"),
        ("__connect.errors.connector.name", b"worker"),
        ("__connect.errors.stage", b"VALUE_CONVERTER"),
        ("__connect.errors.exception.class.name", b"invalid_event"),
        ("__connect.errors.exception.message", b"invalid_event: not JSON"),
    ]


@pytest.mark.parametrize(
    ("reason", "stage"),
    [
        ("invalid_event", "VALUE_CONVERTER"),
        ("invalid_row", "VALUE_CONVERTER"),
        ("conflicting_attempt", "TASK_PUT"),
        ("run_settled", "TASK_PUT"),
    ],
)
def test_stage_tells_what_cannot_be_read_from_what_cannot_be_used(reason: str, stage: str) -> None:
    assert dead_letters.read(refuse([], reason=reason), dead_letters.STAGE) == stage


def test_original_headers_are_kept_as_they_came() -> None:
    letter = refuse(CAME_WITH)

    assert letter[:3] == CAME_WITH
    assert dead_letters.original_headers(letter) == CAME_WITH


def test_second_refusal_replaces_the_first() -> None:
    first = refuse(CAME_WITH)
    again = Origin("pairstream.run-events.v1", 0, 99)
    second = refuse(first, origin=again, reason="run_settled")

    assert second == CAME_WITH + refuse([], origin=again, reason="run_settled")


def test_headers_that_we_do_not_write_are_kept_from_another_tool() -> None:
    trace: Header = ("__connect.errors.exception.stacktrace", b"at line 1")

    assert trace in refuse([trace])
    assert dead_letters.original_headers(refuse([trace])) == []


@pytest.mark.parametrize(
    ("letter", "text"),
    [
        ([], None),
        ([("name", None)], None),
        ([("other", b"x")], None),
        ([("name", b"one"), ("name", b"two")], "two"),
        ([("name", b"one"), ("name", None)], "one"),
        ([("name", b"\xff!")], "\ufffd!"),
    ],
)
def test_last_header_of_a_name_is_read(letter: list[Header], text: str | None) -> None:
    assert dead_letters.read(letter, "name") == text
