"""Headers of dead letters, by the names that Kafka Connect's tools read (KIP-298)."""

import pytest

from schemas import dead_letters
from schemas.dead_letters import Header, Origin
from schemas.errors import InvalidRecord
from schemas.topics import MAX_RECORD_BYTES, MAX_ROW_BYTES

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


# --- Records larger than any that we write -------------------------------------------------------

# By what a producer adds to a record, at the most.
OWN_BYTES = 16 * 1024


def written(
    key: bytes | None, value: bytes | None, original: list[Header]
) -> tuple[dead_letters.Letter, int]:
    error = InvalidRecord("invalid_event", "not JSON")
    letter = dead_letters.letter(
        ORIGIN, error, service="worker", key=key, value=value, original=original
    )
    headers = sum(len(name) + len(text or b"") for name, text in letter.headers)
    return letter, len(letter.key or b"") + len(letter.value or b"") + headers


@pytest.mark.parametrize(
    ("key", "value", "original"),
    [
        (b"r", b"v" * MAX_ROW_BYTES, CAME_WITH),
        (b"k" * 5_000_000, b"v" * 1000, CAME_WITH),
        (None, None, [("more", b"h" * 5_000_000)]),
    ],
)
def test_what_fits_stays_whole(
    key: bytes | None, value: bytes | None, original: list[Header]
) -> None:
    letter, size = written(key, value, original)

    assert (letter.key, letter.value) == (key, value)
    assert dead_letters.original_headers(letter.headers) == original
    assert not [name for name, _ in letter.headers if name.endswith(".cut")]
    assert size <= MAX_RECORD_BYTES


@pytest.mark.parametrize("headers", [0, 1000, 9_000_000])
@pytest.mark.parametrize("value", [None, 0, 1000, 9_000_000])
@pytest.mark.parametrize("key", [None, 1, 1000, 9_000_000])
def test_any_record_gives_a_letter_that_can_be_written(
    key: int | None, value: int | None, headers: int
) -> None:
    whole_key = None if key is None else b"k" * key
    whole_value = None if value is None else b"v" * value
    letter, size = written(whole_key, whole_value, [("more", b"h" * headers)])

    assert size + OWN_BYTES // 2 <= MAX_RECORD_BYTES
    for whole, part, cut in (
        (whole_key, letter.key, dead_letters.KEY_CUT),
        (whole_value, letter.value, dead_letters.VALUE_CUT),
    ):
        assert (part is None) == (whole is None)
        assert (whole or b"").startswith(part or b"")
        assert (part != whole) == (dead_letters.read(letter.headers, cut) is not None)
        known = dead_letters.whole_digest(whole, [], cut)
        assert dead_letters.whole_digest(part, letter.headers, cut) == known


def test_many_empty_headers_are_large_too() -> None:
    letter, size = written(b"r", b"v" * MAX_ROW_BYTES, [("", None)] * 100_000)

    assert size <= MAX_RECORD_BYTES
    assert dead_letters.read(letter.headers, dead_letters.HEADERS_CUT) == "1600000 bytes"


def test_nobody_else_says_that_a_record_was_cut() -> None:
    letter, _ = written(b"r", b"{", [(dead_letters.VALUE_CUT, b"9 bytes, SHA-256 ab")])

    assert dead_letters.read(letter.headers, dead_letters.VALUE_CUT) is None
