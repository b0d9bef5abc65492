"""The notation of the decision tables: a run as attempts by strategy, a pair as one line."""

from typing import Any

from schemas.rows import Pair
from streams.pairing import Settlement
from tests.streams.histories import (
    JsonEvent,
    attempted,
    proposed,
    started,
)

CONTRAST = "strategy_contrast"

# code, what happened; attempts are numbered from 1
Attempts = list[tuple[str, JsonEvent]]

# strategy_id, rule, chosen, rejected (None: to be garbled), their attempts, their scores
Expected = tuple[str, str, str, str | None, int, int | None, float, float | None]


def a_run(strategies: dict[str, Attempts], **of_strategy: Any) -> list[JsonEvent]:
    events = [started()]
    for strategy_id, attempts in strategies.items():
        events.append(proposed(strategy_id, **of_strategy.get(strategy_id.replace("-", "_"), {})))
        events += [
            attempted(number, code, what, strategy_id=strategy_id)
            for number, (code, what) in enumerate(attempts, 1)
        ]
    return events


def all_pairs(settlement: Settlement) -> list[Pair]:
    return settlement.pairs + [request.pair for request in settlement.garble_requests]


def as_expected(pair: Pair) -> Expected:
    return (
        pair.strategy_id,
        pair.rule,
        pair.chosen[0].content,
        pair.rejected[0].content if pair.rejected else None,
        pair.chosen_attempt or 0,
        pair.rejected_attempt,
        pair.chosen_score or 0,
        pair.rejected_score,
    )


def first_time(strategy_id: str, code: str, attempt: int, score: float) -> list[Expected]:
    plan = f"plan {strategy_id}"
    return [
        (strategy_id, "first_time_strategy", plan, None, attempt, None, score, None),
        (strategy_id, "first_time_code", code, None, attempt, None, score, None),
    ]
