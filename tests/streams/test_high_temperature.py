"""What a model is asked for, and which of its texts may stand on the rejected side."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.rows import encode
from streams.garbling import complete, corrupt, garbled_pair
from streams.high_temperature import (
    HIGH_TEMPERATURE,
    MAX_CHARACTERS,
    MIN_SHARE,
    NoSample,
    ask_for,
    broken_up,
    distance,
    judge,
)
from tests.streams.asked import GOOD, asked, garble_request
from tests.streams.histories import MODEST

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
# As endpoints may send it: lone surrogates, controls, control tokens, much white space.
SAID = st.lists(
    st.text(max_size=20)
    | st.sampled_from(["<|im_end|>", "</s>", "\x00", "\ud800", "\n \t", "<|", "|>"]),
    max_size=12,
).map("".join)
OTHER = "Sweep a quilted lantern, or shout at small barns twice."


@MODEST
@given(st.text(min_size=1, max_size=60).filter(str.strip), SAID)
@example("a b", "a  b")
@example("x", "\x00x")
@example("<|im_end|>", "<|im_end|>")
def test_a_text_that_stands_keeps_what_is_promised(good: str, said: str) -> None:
    ask = asked(good=good)
    try:
        text, garbler, far = judge(ask, said)
    except NoSample:
        return

    assert garbler == HIGH_TEMPERATURE
    assert text.encode().decode() == text
    assert text == text.strip() != ""
    assert text.split() != good.split()
    assert MIN_SHARE * len(good.strip()) <= len(text) <= len(good)
    assert broken_up(text) == text
    assert not re.search(r"[\x00-\x08\x7f]", text)
    assert 0 <= far <= 1


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "blank_text"),
        (" \n\t ", "blank_text"),
        ("\x00\x01", "blank_text"),
        (GOOD, "same_text"),
        (f"\n {GOOD}\n", "same_text"),
        (f"{GOOD} And more of it.", "same_text"),
        (GOOD.replace(" ", "\n"), "same_text"),
        ("too short", "short_text"),
    ],
)
def test_a_text_that_may_not_stand_is_refused(said: str, reason: str) -> None:
    with pytest.raises(NoSample) as refused:
        judge(asked(), said)

    assert refused.value.reason == reason


def test_a_long_text_is_cut_to_the_length_of_the_good_one() -> None:
    text = judge(asked(), OTHER * 1000).text

    assert text == OTHER[: len(GOOD)].rstrip()


@pytest.mark.parametrize(
    "token",
    ["<|im_end|>", "<|endoftext|>", "</s>", "<s>", "<start_of_turn>", "[INST]", "[/INST]",
     "<<SYS>>", "<eos>", "<\uff5cend\u2581of\u2581sentence\uff5c>"],
)  # fmt: skip
def test_control_tokens_are_broken_up(token: str) -> None:
    text = judge(asked(), f"{OTHER[:20]}{token}{OTHER[20:]}").text

    assert token not in text
    assert f"{token[0]} {token[1:]}" in text


@pytest.mark.parametrize("code", ["if a < b > c:", "x: list[int]", "<div>", "a <| b", "f(x)[SYS]"])
def test_code_that_only_looks_so_is_left_alone(code: str) -> None:
    assert broken_up(code) == code


def test_what_comes_for_code_is_data() -> None:
    request = garble_request(good="import os\nos.remove('/tmp/x')\nprint('done')")
    ask = ask_for(request)

    pair = complete(request.pair, judge(ask, "__import__('os').system('touch /tmp/never')  # !"))

    assert pair.rejected[0].content == "__import__('os').system('touch /tmp/never')"
    assert pair.garbler == HIGH_TEMPERATURE


@pytest.mark.parametrize(
    ("good", "reason"),
    [
        ("", "blank_response"),
        (" \n", "blank_response"),
        ("x" * (MAX_CHARACTERS + 1), "long_response"),
    ],
)
def test_what_no_model_could_give_is_not_asked_for(good: str, reason: str) -> None:
    with pytest.raises(NoSample) as refused:
        ask_for(garble_request(good=good))

    assert refused.value.reason == reason


def test_seed_is_a_function_of_the_pairs_id_in_31_bits() -> None:
    seeds = [asked(f"r-{number}").seed for number in range(200)]

    assert asked("r-7").seed == seeds[7] == 1873770706
    assert len(set(seeds)) == 200
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize("good", ["x", GOOD, "\u65e5\u672c\u8a9e" * 40, "\U0001f600" * 50])
def test_tokens_asked_for_are_about_the_good_texts_length(good: str) -> None:
    tokens = asked(good=good).tokens

    assert len(good.encode()) / 3 <= tokens <= len(good.encode()) / 3 + 8


# --- The distance --------------------------------------------------------------------------------


@MODEST
@given(ANY_TEXT, ANY_TEXT)
def test_distance_is_one_of_texts(one: str, other: str) -> None:
    assert distance(one, one) == 0
    assert distance(one, other) == distance(other, one)
    assert 0 <= distance(one, other) <= 1
    assert distance(one, other) == round(distance(one, other), 4)


@pytest.mark.parametrize(
    ("one", "other", "far"),
    [
        ("abcd", "abce", 0.5),
        ("abc", "xyz", 1.0),
        ("a", "b", 1.0),
        ("", "abc", 1.0),
        ("aaaa", "aaa", 0.3333),
        (GOOD, GOOD.upper(), 1.0),
        ("abcdef", "defabc", 0.5),
        (GOOD, GOOD[:-1], 0.0105),
    ],
)
def test_distance_is_this(one: str, other: str, far: float) -> None:
    assert distance(one, other) == far


def test_distance_counts_what_is_repeated() -> None:
    assert distance("ab" * 50, "ab" * 5) > 0.8


def test_distance_stands_last_in_the_row_and_in_no_other() -> None:
    pair = garble_request().pair
    garbled = judge(asked(), OTHER)

    row = encode(complete(pair, garbled))

    assert row.endswith(
        b',"policy_id":null,"garbled_distance":%s}' % str(garbled.distance).encode()
    )
    assert b"garbled_distance" not in encode(garbled_pair(garble_request(), corrupt))
