"""Contract, section 4.4: what the built-in garbler promises, for any text."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.events import Message
from schemas.rows import encode, parse_garble_request, parse_pair
from streams.garbling import Garbled, ResponseKind, corrupt, garbled_pair
from tests.streams.histories import MODEST

EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples"
KINDS: tuple[ResponseKind, ...] = ("strategy", "code")

# Text as agents write it: any Unicode that UTF-8 can carry, and what looks like programs.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
LIKE_CODE = st.lists(
    st.sampled_from(
        [
            "def f():",
            "\n    ",
            "return 1",
            " ",
            "x = 1",
            "\n",
            "'''",
            "(",
            ")",
            "#",
            ") ",
            "else ",
            "%",
        ]
    ),
    max_size=12,
).map("".join)
RESPONSES = ANY_TEXT | LIKE_CODE
SEEDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def spoil(response: str, kind: ResponseKind, seed: str = "seed") -> str:
    return corrupt([], response, kind=kind, seed=seed).text


@MODEST
@given(RESPONSES, st.sampled_from(KINDS), SEEDS)
@example("", "strategy", "")
@example("", "code", "")
@example("\n\n", "strategy", "")
@example("a", "strategy", "")
def test_garbled_text_is_never_the_response(response: str, kind: ResponseKind, seed: str) -> None:
    assert spoil(response, kind, seed) != response


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("response", ["", " ", "x", ") ", ") x", "else ", "% ", "> ", "= = "])
def test_garbled_text_is_never_the_response_whatever_the_seed(
    response: str, kind: ResponseKind
) -> None:
    """Short texts that begin as spoilt code does; ids of pairs are the seeds, so any may come."""
    equal = [seed for seed in range(1000) if spoil(response, kind, str(seed)) == response]

    assert equal == []


@MODEST
@given(RESPONSES, SEEDS)
@example("pass", "")
@example("# comment", "")
@example("# -*- coding: rot13 -*-\npass", "")
@example("\\\npass", "")
@example(": pass\nelse: pass", "")
@example("\x0cpass", "")
@example("\ufeffpass", "")
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_garbled_code_does_not_compile(response: str, seed: str) -> None:
    text = spoil(response, "code", seed)

    with pytest.raises((SyntaxError, ValueError)):
        compile(text, "garbled", "exec")


@MODEST
@given(RESPONSES, st.sampled_from(KINDS), SEEDS)
def test_garbled_text_owes_all_to_response_kind_and_seed(
    response: str, kind: ResponseKind, seed: str
) -> None:
    once = corrupt([], response, kind=kind, seed=seed)
    again = corrupt([Message("user", "another prompt")], response, kind=kind, seed=seed)

    assert once == again == Garbled(once.text, "corrupt")


@MODEST
@given(RESPONSES, st.sampled_from(KINDS), SEEDS)
def test_garbled_text_is_bounded_and_can_be_sent(
    response: str, kind: ResponseKind, seed: str
) -> None:
    text = spoil(response, kind, seed)

    # Every word may be doubled, and a few letters are put before or behind.
    assert len(text) <= 2 * len(response) + 8
    assert text.encode().decode() == text


def test_seed_decides() -> None:
    response = "Empty the package cache, then look for large logs."

    assert len({spoil(response, "strategy", str(seed)) for seed in range(20)}) > 15


def test_garbled_strategy_is_still_about_its_length() -> None:
    response = " ".join(["Empty the package cache."] * 200)

    assert 0.7 < len(spoil(response, "strategy")) / len(response) < 1.3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("response", ["x" * 200_000, "x " * 100_000, " " * 200_000])
def test_bound_holds_for_long_texts(response: str, kind: ResponseKind) -> None:
    assert len(spoil(response, kind)) <= 2 * len(response) + 8


@pytest.mark.parametrize("rule", ["first_time_code", "first_time_strategy"])
def test_garbled_pair_is_the_golden_one(rule: str) -> None:
    """A replay garbles again: bytes must not change from one release to the next."""
    asked = EXAMPLES / "pairstream.garble-requests.v1" / f"{rule}.json"
    golden = EXAMPLES / "pairstream.pairs.v1" / f"{rule}.json"

    pair = garbled_pair(parse_garble_request(asked.read_bytes()), corrupt)

    assert json.loads(encode(pair)) == json.loads(golden.read_bytes())


def test_pair_says_which_garbler_made_it_and_keeps_the_rest() -> None:
    request = parse_garble_request(
        (EXAMPLES / "pairstream.garble-requests.v1" / "first_time_code.json").read_bytes()
    )
    asked: list[object] = []

    def stand_in(prompt: list[Message], response: str, *, kind: ResponseKind, seed: str) -> Garbled:
        asked.extend([prompt, response, kind, seed])
        return Garbled("spoilt", "another")

    pair = garbled_pair(request, stand_in)

    chosen = request.pair.chosen[0].content
    assert asked == [request.pair.prompt, chosen, "code", request.pair.pair_id]
    assert pair == msgspec.structs.replace(
        request.pair, rejected=[Message("assistant", "spoilt")], garbler="another"
    )
    assert parse_pair(encode(pair)) == pair
