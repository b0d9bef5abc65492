"""Texts of agents come out of the rows to the character, whatever they look like."""

import json

from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from schemas.rows import encode, parse_pair
from streams.garbling import corrupt, garbled_pair
from streams.pairing import Settlement
from streams.partition import Effects, Partition
from tests.fuzz.texts import HOSTILE
from tests.streams.histories import (
    BROKEN,
    CRASHED,
    PARTS,
    JsonEvent,
    attempted,
    finished,
    ok,
    proposed,
    started,
)

SETTINGS = settings(
    max_examples=300, deadline=None, derandomize=True, database=None, phases=[Phase.generate]
)

IDS = HOSTILE.filter(lambda text: 0 < len(text) <= 256)
MESSAGES = st.lists(st.fixed_dictionaries({"role": HOSTILE, "content": HOSTILE}), max_size=2)
PROMPTS = st.fixed_dictionaries(dict.fromkeys(PARTS, MESSAGES))
WHO = st.fixed_dictionaries(dict.fromkeys(("agent_id", "task_id", "policy_id"), HOSTILE))


def applied(events: list[JsonEvent], *, escaped: bool) -> Effects:
    log = [
        (event["run_id"].encode(), json.dumps(event, ensure_ascii=escaped).encode(), place)
        for place, event in enumerate(events)
    ]
    effects = Partition(extended=False).apply(log, now_ms=0)
    assert effects.refused == []
    return effects


def settlement(events: list[JsonEvent], *, escaped: bool) -> Settlement:
    [settled] = applied(events, escaped=escaped).settlements
    return settled


def message(role: str, text: str) -> list[JsonEvent]:
    return [{"role": role, "content": text}]


@SETTINGS
@given(st.data(), IDS, HOSTILE, PROMPTS, WHO, st.booleans())
def test_texts_of_a_mixed_run_come_out_unchanged(
    data: st.DataObject,
    run_id: str,
    strategy_id: str,
    prompts: JsonEvent,
    who: JsonEvent,
    escaped: bool,
) -> None:
    plan, good, bad = (data.draw(HOSTILE) for _ in range(3))
    assume(good != bad)
    effects = applied(
        [
            started(run_id, prompts=prompts, **who),
            proposed(strategy_id, run_id=run_id, strategy=plan),
            attempted(1, bad, CRASHED, strategy_id=strategy_id, run_id=run_id, error=plan),
            attempted(2, good, ok(2.5), strategy_id=strategy_id, run_id=run_id),
            finished(run_id),
        ],
        escaped=escaped,
    )

    rows = {topic.name.split(".")[1]: json.loads(value) for topic, _, value in effects.rows}
    assert {key for _, key, _ in effects.rows} == {run_id.encode()}
    pair, scored = rows["pairs"], rows["scored-rows"]
    assert pair["prompt"] == message("user", plan)
    assert pair["chosen"] == message("assistant", good)
    assert pair["rejected"] == message("assistant", bad)
    assert scored["kind"] == "strategy_success"
    assert scored["prompt"] == [m for part in PARTS for m in prompts[part]]
    assert scored["response"] == message("assistant", plan)
    for row in rows.values():
        assert row["run_id"] == run_id
        assert {name: row[name] for name in who} == who
    assert pair["strategy_id"] == scored["strategy_id"] == strategy_id


@SETTINGS
@given(st.lists(HOSTILE, min_size=1, max_size=3), HOSTILE, st.booleans())
def test_getters_of_a_run_that_could_not_run_come_out_joined_by_blank_lines(
    getters: list[str], plan: str, escaped: bool
) -> None:
    [row] = settlement(
        [
            started(new_sp_egc_s=getters),
            proposed(strategy=plan),
            attempted(1, plan, BROKEN),
            finished(),
        ],
        escaped=escaped,
    ).scored_rows

    assert [m.content for m in row.prompt] == ["\n\n".join(getters)]
    assert [m.content for m in row.response] == [plan]


@SETTINGS
@given(HOSTILE, HOSTILE)
def test_garbled_twins_differ_from_whatever_was_good_and_can_be_read(plan: str, code: str) -> None:
    requests = settlement(
        [started(), proposed(strategy=plan), attempted(1, code, ok(1.0)), finished()],
        escaped=True,
    ).garble_requests

    pairs = [garbled_pair(request, corrupt) for request in requests]
    assert [pair.chosen[0].content for pair in pairs] == [plan, code]
    for request, pair in zip(requests, pairs, strict=True):
        assert pair.rejected[0].content != pair.chosen[0].content
        assert garbled_pair(request, corrupt) == pair
        assert parse_pair(encode(pair)) == pair
