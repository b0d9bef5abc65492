"""A model behind an endpoint that misbehaves: each request is answered, by `corrupt` if need be."""

import asyncio
import gzip
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from schemas.rows import Pair, encode, parse_pair
from schemas.settings import GarblingSettings
from streams.garblers import Sampling, open_garblers
from streams.garbling import corrupt, garbled_pair
from streams.openai_garbler import MAX_ANSWER_BYTES
from tests.streams.asked import GOOD, asked, garble_request
from tests.streams.misbehaving import (
    Behaviour,
    Desk,
    Handler,
    Json,
    closes,
    completion,
    drips,
    fails,
    hangs,
    says,
    sends,
    serving,
    stops_half_way,
)

pytestmark = pytest.mark.long

KEY = "sk-s3cret-of-ours"
TEXT = "Sweep a quilted lantern, or shout at small barns twice."
STANDS = TEXT[: len(GOOD)].rstrip()

# Long enough for any answer on a slow machine, short enough to wait for where none comes.
PATIENT, IMPATIENT = 60.0, 0.5


def garble(
    desk: Desk, requests: Sequence[Any], *, seconds: float = PATIENT, **settings: Any
) -> tuple[list[Pair], Sampling]:
    """Complete the requests by an endpoint; each try but the last may fail."""
    chosen = GarblingSettings(
        garbler="high_temperature",
        garbler_url=desk.url,
        garbler_model="served",
        garbler_timeout_seconds=seconds,
        **{"garbler_api_key": KEY, **settings},
    )

    async def complete() -> tuple[list[Pair], Sampling]:
        garblers = open_garblers(chosen)
        assert isinstance(garblers, Sampling)
        pairs = await garblers.pairs(requests)
        await garblers.aclose()
        return pairs, garblers

    return asyncio.run(complete())


def test_what_the_endpoint_says_stands_in_the_row_with_its_distance() -> None:
    request = garble_request()
    with serving(says(TEXT)) as desk:
        [pair], _ = garble(desk, [request])

    assert pair.rejected[0].content == STANDS
    assert (pair.garbler, pair.garbled_distance) == ("high_temperature", 0.9583)
    assert parse_pair(encode(pair)) == pair
    [(path, headers, body)] = desk.requests
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "served",
        "messages": [
            {"role": "system", "content": "You free space."},
            {"role": "user", "content": "s3cret-of-the-agent"},
        ],
        "n": 1,
        "seed": asked().seed,
        "temperature": 2.0,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "max_tokens": asked().tokens,
    }


@pytest.mark.parametrize(
    ("behaviours", "text"),
    [
        ([fails(500), says(TEXT)], STANDS),
        ([fails(503), fails(502), says(TEXT)], STANDS),
        ([fails(429, Retry_After="0"), says(TEXT)], STANDS),
        ([closes, says(TEXT)], STANDS),
        ([stops_half_way, says(TEXT)], STANDS),
        ([says(TEXT + "\x00<|im_end|>")], STANDS),
        ([says("\x00\x07" + TEXT[:30] + "<|im_end|>" + TEXT[30:])],
         (TEXT[:30] + "< |im_end|>" + TEXT[30:])[: len(GOOD)].rstrip()),
        ([says(TEXT * 5000)], STANDS),
    ],
    ids=["500", "503 and 502", "429", "closes", "half way", "NUL behind", "control tokens", "long"],
)  # fmt: skip
def test_what_can_be_mended_is_mended(behaviours: list[Behaviour], text: str) -> None:
    with serving(*behaviours) as desk:
        [pair], sampling = garble(desk, [garble_request()])

    assert (pair.rejected[0].content, pair.garbler) == (text, "high_temperature")
    assert len(desk.requests) == len(behaviours)
    assert sampling.stand_ins.reasons == {}


def slow(handler: Handler, _: Json) -> None:
    """Answers well, later than anybody waits for."""
    handler.server.closing.wait(3 * IMPATIENT)
    handler.send(200, completion(TEXT))


def elsewhere(status: int) -> Behaviour:
    """Sends the client on to itself, where all would be well."""

    def redirect(handler: Handler, _: Json) -> None:
        handler.send(status, b"", Location="/v1/chat/completions?again")

    return redirect


FAULTS: dict[str, tuple[Behaviour, str]] = {
    "500": (fails(500), "http_500"),
    "429": (fails(429), "http_429"),
    "429 for a minute": (fails(429, Retry_After="50"), "timed_out"),
    "401": (fails(401), "http_401"),
    "400": (fails(400), "http_400"),
    "404": (fails(404), "http_404"),
    "slow": (slow, "timed_out"),
    "hangs": (hangs, "timed_out"),
    "drips": (drips, "timed_out"),
    "closes": (closes, "no_answer"),
    "half way": (stops_half_way, "no_answer"),
    "no JSON": (sends(b"<html>"), "no_completion"),
    "other JSON": (sends(b'{"text": "hello"}'), "no_completion"),
    "wrong types": (sends(b'{"choices": [{"message": {"content": 5}}]}'), "no_completion"),
    "deep JSON": (sends(b"[" * 100_000), "no_completion"),
    "nothing": (sends(b""), "no_completion"),
    "no choices": (sends(b'{"choices": []}'), "no_choice"),
    "null": (says(None), "blank_text"),
    "empty": (says(""), "blank_text"),
    "blank": (says(" \n\t\x00"), "blank_text"),
    "the good text": (says(GOOD), "same_text"),
    "the good text and more": (says(f"\n{GOOD} And so on."), "same_text"),
    "short": (says("Sweep."), "short_text"),
    "no UTF-8": (sends(b'{"choices": [{"message": {"content": "\xff\xfe"}}]}'), "no_completion"),
    "lone surrogate": (
        sends(b'{"choices": [{"message": {"content": "\\ud800"}}]}'),
        "no_completion",
    ),
    "huge": (sends(b" " * (MAX_ANSWER_BYTES + 1)), "long_answer"),
    "packed": (
        sends(gzip.compress(completion(TEXT)), Content_Encoding="gzip"),
        "no_completion",
    ),
    **{f"redirect {n}": (elsewhere(n), f"http_{n}") for n in (301, 302, 307, 308)},
}


@pytest.mark.parametrize(("behaviour", "reason"), FAULTS.values(), ids=FAULTS.keys())
def test_corrupt_stands_in_for_what_cannot_be_mended(behaviour: Behaviour, reason: str) -> None:
    request = garble_request()
    waits = reason == "timed_out"
    with serving(behaviour) as desk, capture_logs() as logs:
        [pair], sampling = garble(
            desk, [request], seconds=IMPATIENT if waits else PATIENT, garbler_retries=int(waits)
        )

    assert encode(pair) == encode(garbled_pair(request, corrupt))
    assert sampling.stand_ins.reasons == {reason: 1}
    [warning] = [line for line in logs if line["event"] == "corrupt_stands_in"]
    assert warning["why"] == {reason: 1}
    assert "s3cret" not in str(logs)
    assert not any("again" in path for path, _, _ in desk.requests)


def test_an_endpoint_that_is_not_there_is_no_answer() -> None:
    with serving(hangs) as desk:
        pass  # its port is free again

    [pair], sampling = garble(desk, [garble_request()], garbler_retries=0)

    assert pair.garbler == "corrupt"
    assert sampling.stand_ins.reasons == {"no_answer": 1}


def picky(handler: Handler, body: Json) -> None:
    """Knows no fields but OpenAI's."""
    if "top_k" in body:
        handler.send(400, b'{"error": {"message": "unknown field"}}')
    else:
        handler.send(200, completion(TEXT))


def test_an_endpoint_that_refuses_further_fields_is_asked_without_them_from_then_on() -> None:
    requests = [garble_request(f"r-{number}") for number in range(3)]
    with serving(picky) as desk:
        pairs, _ = garble(desk, requests, garbler_concurrency=1)

    assert [pair.garbler for pair in pairs] == ["high_temperature"] * 3
    assert ["top_k" in body for _, _, body in desk.requests] == [True, False, False, False]


def test_requests_that_are_refused_together_are_all_asked_again() -> None:
    together = threading.Barrier(3)

    def picky_at_last(handler: Handler, body: Json) -> None:
        """Refuses the first ones only when all are there."""
        if "top_k" in body:
            together.wait(PATIENT)
        picky(handler, body)

    requests = [garble_request(f"r-{number}") for number in range(3)]
    with serving(picky_at_last) as desk, capture_logs() as logs:
        pairs, _ = garble(desk, requests, garbler_concurrency=3)

    assert [pair.garbler for pair in pairs] == ["high_temperature"] * 3
    told = [line for line in logs if "only_fields_of_openai" in line["event"]]
    assert [line["left_out"] for line in told] == [["min_p", "repetition_penalty", "top_k"]]


def test_an_endpoint_that_refuses_one_prompt_gets_all_fields_for_the_next() -> None:
    requests = [garble_request(f"r-{number}") for number in range(2)]
    with serving(fails(400), fails(400), says(TEXT)) as desk:
        pairs, _ = garble(desk, requests, garbler_concurrency=1)

    assert [pair.garbler for pair in pairs] == ["corrupt", "high_temperature"]
    assert ["top_k" in body for _, _, body in desk.requests] == [True, False, True]


def test_no_more_requests_are_under_way_than_the_setting_says() -> None:
    together = threading.Barrier(3)

    def meets_others(handler: Handler, _: Json) -> None:
        """Answers when three are there: it would not where fewer are allowed."""
        together.wait(PATIENT)
        handler.send(200, completion(TEXT))

    requests = [garble_request(f"r-{number}") for number in range(12)]
    with serving(meets_others) as desk:
        pairs, _ = garble(desk, requests, garbler_concurrency=3)

    assert {pair.garbler for pair in pairs} == {"high_temperature"}
    assert desk.most_at_once == 3


# --- The budget ----------------------------------------------------------------------------------


def budgeted(behaviour: Behaviour, tokens: int | None) -> tuple[int, dict[str, int], list[Any]]:
    """How many were sent for 8 pairs, the reasons of stand-ins, and the warnings."""
    requests = [garble_request(f"r-{number}") for number in range(8)]
    with serving(behaviour) as desk, capture_logs() as logs:
        pairs, sampling = garble(
            desk,
            requests,
            garbler_budget_tokens=tokens,
            garbler_concurrency=1,
            garbler_retries=0,
        )
    assert [pair.garbler for pair in pairs].count("corrupt") == sampling.stand_ins.reasons.total()
    told = [line for line in logs if line["event"] == "garbler_budget_is_used_up"]
    return len(desk.requests), dict(sampling.stand_ins.reasons), told


def test_a_used_up_budget_asks_for_no_more_and_says_so_once() -> None:
    each = asked().tokens + asked().prompt_tokens
    budget = 5 * 1000 + each - 1
    sent, reasons, told = budgeted(says(TEXT, usage={"total_tokens": 1000}), budget)

    # After five, another one might take more than is left.
    assert (sent, reasons) == (5, {"over_budget": 3})
    assert told == [
        {"event": "garbler_budget_is_used_up", "log_level": "warning", "budget_tokens": budget}
    ]


def test_without_a_budget_there_is_no_end() -> None:
    assert budgeted(says(TEXT, usage={"total_tokens": 10**9}), None) == (8, {}, [])


def test_an_endpoint_that_does_not_count_is_counted_for() -> None:
    each = asked().tokens + asked().prompt_tokens
    sent, reasons, _ = budgeted(says(TEXT), 3 * each)

    assert (sent, reasons) == (3, {"over_budget": 5})


def test_what_an_endpoint_refused_costs_nothing() -> None:
    sent, reasons, told = budgeted(fails(400), asked().tokens + asked().prompt_tokens)

    assert (sent, reasons, told) == (16, {"http_400": 8}, [])


def test_requests_under_way_count_for_the_budget() -> None:
    each = asked().tokens + asked().prompt_tokens
    requests = [garble_request(f"r-{number}") for number in range(4)]
    with serving(says(TEXT)) as desk:
        garble(desk, requests, garbler_budget_tokens=2 * each, garbler_concurrency=4)

    assert len(desk.requests) == 2


# --- The key -------------------------------------------------------------------------------------


def test_key_is_sent_and_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    requests = [garble_request(f"r-{number}") for number in range(4)]
    with (
        caplog.at_level(logging.DEBUG),
        capture_logs() as logs,
        serving(fails(401), stops_half_way, sends(b"{"), says(TEXT)) as desk,
    ):
        garble(desk, requests, garbler_concurrency=1, garbler_api_key=KEY)

    assert {headers["authorization"] for _, headers, _ in desk.requests} == {f"Bearer {KEY}"}
    assert KEY not in str(logs)
    assert KEY not in caplog.text


def test_no_key_of_the_environment_goes_to_an_endpoint_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "of-another-server")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert os.environ["OPENAI_API_KEY"]

    with serving(says(TEXT)) as desk:
        [pair], _ = garble(desk, [garble_request()], garbler_api_key=None)

    assert pair.garbler == "high_temperature"
    assert "of-another-server" not in str(desk.requests)


LATE = """
import asyncio, sys
from schemas.settings import GarblingSettings
from streams.garblers import open_garblers
from tests.streams.asked import garble_request

garblers = open_garblers(
    GarblingSettings(garbler="high_temperature", garbler_url=sys.argv[1], garbler_model="served")
)
before = set(sys.modules)
[pair] = asyncio.run(garblers.pairs([garble_request()]))
print(pair.garbler, sorted(name for name in set(sys.modules) - before if name.startswith("openai")))
"""


def test_the_client_is_loaded_before_the_loop_runs() -> None:
    """Else the first request would stop a worker's loop, for seconds on a busy machine."""
    with serving(says(TEXT)) as desk:
        done = subprocess.run(
            [sys.executable, "-c", LATE, desk.url], capture_output=True, text=True, check=True
        )

    assert done.stdout.split(maxsplit=1) == ["high_temperature", "[]\n"]
