"""Contract, section 4.3: ids, canonical bytes, and which records of the pairs topic are pairs."""

import json
from typing import Any

import pytest

from schemas.errors import InvalidRecord
from schemas.events import Message
from schemas.rows import (
    GarbleRequest,
    Pair,
    PairRule,
    encode,
    hashed_id,
    pair_id,
    parse_garble_request,
    parse_pair,
    parse_scored_row,
    parse_training_step,
)

PAIR: dict[str, Any] = {
    "pair_id": "47a262f211f3c5820b17c97fc477008a",
    "run_id": "r-1",
    "strategy_id": "s-1",
    "rule": "mixed_code",
    "prompt": [{"role": "user", "content": "Empty the package cache."}],
    "chosen": [{"role": "assistant", "content": "good"}],
    "rejected": [{"role": "assistant", "content": "bad"}],
    "chosen_score": 12.5,
    "rejected_score": 0.0,
    "chosen_attempt": 3,
    "rejected_attempt": 1,
    "garbler": None,
    "agent_id": "cleaner-7",
    "task_id": None,
    "policy_id": "base",
}


# Each by `printf 'r-1\x1fs-1\x1fmixed_code\x1f3\x1f1' | sha256sum`, and so on.
@pytest.mark.parametrize(
    ("run_id", "strategy_id", "rule", "chosen", "rejected", "expected"),
    [
        ("r-1", "s-1", "mixed_code", 3, 1, "47a262f211f3c5820b17c97fc477008a"),
        ("r-1", "s-1", "first_time_code", 2, None, "470cd43bc7a5631ae51247296376c724"),
        (
            "l\u00e4uf-\U0001f600",
            "",
            "strategy_contrast",
            10,
            2,
            "e6bf7895733ffdc502e828ec370d4579",
        ),
    ],
)
def test_pair_id_is_that_of_the_contract(
    run_id: str, strategy_id: str, rule: PairRule, chosen: int, rejected: int | None, expected: str
) -> None:
    assert pair_id(run_id, strategy_id, rule, chosen, rejected) == expected


def test_hashed_id_is_the_same_rule_for_any_parts() -> None:
    assert hashed_id("r-1", "s-1", "strategy_success", 2) == "501d3924ea54dff5130a544374814cb2"


def encoded(**changed: Any) -> bytes:
    return json.dumps({**PAIR, **changed}).encode()


def test_pair_is_read_and_written_in_canonical_bytes() -> None:
    pair = parse_pair(encoded())

    assert isinstance(pair, Pair)
    assert encode(pair) == json.dumps(PAIR, separators=(",", ":")).encode()


def test_text_is_written_as_utf_8_without_escapes() -> None:
    pair = parse_pair(encoded(chosen=[{"role": "assistant", "content": "\u00e4\U0001f600\n\x00"}]))

    assert '{"role":"assistant","content":"ä😀\\n\\u0000"}'.encode() in encode(pair)
    assert b"\n" not in encode(pair)


def test_pair_of_a_model_says_how_far_its_garbled_side_is() -> None:
    pair = parse_pair(encoded(garbler="high_temperature", garbled_distance=0.25))

    row = {**PAIR, "garbler": "high_temperature", "garbled_distance": 0.25}
    assert pair.garbled_distance == 0.25
    assert encode(pair) == json.dumps(row, separators=(",", ":")).encode()


BROKEN: dict[str, bytes | None] = {
    "a distance above 1": encoded(garbled_distance=1.01),
    "a distance below 0": encoded(garbled_distance=-0.01),
    "no distance": encoded(garbled_distance=None),
    "no value": None,
    "no bytes": b"",
    "no JSON": b"{",
    "no UTF-8": encoded().replace(b"good", b"\xff"),
    "garbage behind it": encoded() + b"x",
    "a list": b"[]",
    "deeply nested": b"[" * 100_000,
    "a field too many": encoded(more=1),
    "an unknown rule": encoded(rule="any_code"),
    "a score in words": encoded(chosen_score="high"),
    "an attempt in parts": encoded(chosen_attempt=1.5),
    "a prompt in words": encoded(prompt="Empty the package cache."),
    "a lone surrogate": encoded(chosen=[{"role": "assistant", "content": "\ud800"}]),
    "an infinite score": encoded().replace(b"12.5", b"1e999"),
    "the id of another pair": encoded(pair_id="0" * 32),
    "the id in upper case": encoded(pair_id=PAIR["pair_id"].upper()),
    "another run under the id": encoded(run_id="r-2"),
    "another strategy under the id": encoded(strategy_id="s-2"),
    "another rule under the id": encoded(rule="first_time_code"),
    "another chosen attempt under the id": encoded(chosen_attempt=2),
    "no rejected attempt under the id": encoded(rejected_attempt=None),
}


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_pair_is_an_invalid_row(value: bytes | None) -> None:
    with pytest.raises(InvalidRecord) as refused:
        parse_pair(value)

    assert refused.value.reason == "invalid_row"


SCORED = {
    "row_id": hashed_id("r-1", "s-1", "code_success", 3), "run_id": "r-1", "strategy_id": "s-1",
    "kind": "code_success", "attempt": 3,
    "prompt": [{"role": "user", "content": "Empty the package cache."}],
    "response": [{"role": "assistant", "content": "good"}], "score": 12.5, "agent_id": None,
    "task_id": None, "policy_id": "base",
}  # fmt: skip


def scored(**changed: Any) -> bytes:
    return json.dumps({**SCORED, **changed}).encode()


def test_scored_row_is_read_and_written_in_canonical_bytes() -> None:
    assert encode(parse_scored_row(scored())) == json.dumps(SCORED, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"{",
        scored(more=1),
        scored(kind="any"),
        scored(row_id="0" * 32),
        scored(attempt=4),
        scored(attempt=None),
        scored(score=-1),
        scored(score=0),
        scored().replace(b"12.5", b"1e999"),
        scored(response=[]),
        scored(response=[{"role": "user", "content": "good"}]),
        scored(kind="strategy_success", row_id=hashed_id("r-1", "s-1", "strategy_success", 3),
               score=0.0),
        scored(kind="strategy_without_effect", attempt=None,
               row_id=hashed_id("r-1", "s-1", "strategy_without_effect", None)),
    ],
)  # fmt: skip
def test_what_is_no_scored_row_is_an_invalid_row(value: bytes | None) -> None:
    with pytest.raises(InvalidRecord) as refused:
        parse_scored_row(value)

    assert refused.value.reason == "invalid_row"


@pytest.mark.parametrize("name", PAIR)
def test_pair_with_a_missing_field_is_an_invalid_row(name: str) -> None:
    value = json.dumps({key: value for key, value in PAIR.items() if key != name}).encode()

    with pytest.raises(InvalidRecord, match=name):
        parse_pair(value)


ASSISTANT = {"role": "assistant", "content": "text"}
NOT_ONE_MESSAGE = {
    "none": [],
    "two": [ASSISTANT, ASSISTANT],
    "of the user": [{"role": "user", "content": "text"}],
}


@pytest.mark.parametrize("side", ["chosen", "rejected"])
@pytest.mark.parametrize("messages", NOT_ONE_MESSAGE.values(), ids=NOT_ONE_MESSAGE.keys())
def test_side_that_is_not_one_message_of_the_assistant_is_an_invalid_row(
    side: str, messages: list[dict[str, str]]
) -> None:
    """Contract, section 4.2; whatever passes here is trained on."""
    with pytest.raises(InvalidRecord, match="invalid_row"):
        parse_pair(encoded(**{side: messages}))


def request(**changed: Any) -> bytes:
    pair = {**PAIR, "rejected": [], "rejected_attempt": None, **changed}
    return json.dumps({"response": "code", "pair": pair}).encode()


def test_garble_request_is_read() -> None:
    asked = parse_garble_request(request())

    assert isinstance(asked, GarbleRequest)
    assert (asked.response, asked.pair.chosen) == ("code", [Message("assistant", "good")])


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        encoded(),
        request(more=1),
        request().replace(b'"code"', b'"prompt"'),
        # There is nothing to garble.
        request(chosen=[]),
    ],
)
def test_what_is_no_garble_request_is_an_invalid_row(value: bytes | None) -> None:
    with pytest.raises(InvalidRecord) as refused:
        parse_garble_request(value)

    assert refused.value.reason == "invalid_row"


@pytest.mark.parametrize("field", ["rule", "chosen_score", "more", "prompt"])
def test_refusal_never_quotes_the_row(field: str) -> None:
    with pytest.raises(InvalidRecord) as refused:
        parse_pair(encoded(**{field: "s3cret-of-the-agent"}))

    assert "s3cret-of-the-agent" not in refused.value.detail


STEP = {
    "training_id": "dpo-ds-000001", "step": "gated", "time": "2026-11-23T10:00:00Z",
    "dataset": "ds-000001", "dataset_sha256": "0" * 64,
}  # fmt: skip


def step(**fields: Any) -> bytes:
    return json.dumps(STEP | fields).encode()


def test_a_step_of_a_training_is_read_and_one_of_a_newer_trainer_is_passed_over() -> None:
    known = parse_training_step(step(detail="passed"))

    assert known is not None
    assert (known.step, known.detail) == ("gated", "passed")
    assert parse_training_step(step(step="dreamt", dream=7)) is None


@pytest.mark.parametrize("value", [None, b"", b"{}", step(more=1), step(time="now"), step(step=1)])
def test_what_is_no_step_is_an_invalid_row(value: bytes | None) -> None:
    with pytest.raises(InvalidRecord) as refused:
        parse_training_step(value)

    assert refused.value.reason == "invalid_row"
