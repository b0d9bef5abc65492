"""The contract's section 4, written a second time from its text alone: dictionaries and loops.

Takes events as decoded JSON in the order of arrival, gives rows as JSON. Shares no code with the
worker (but for what redacts texts), so that a mistake in one is not a mistake in both; clear rather
than fast. `verify` and the tests hold the worker against it.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from schemas.settings import RUN_MAX_BYTES
from schemas.topics import MAX_ROW_BYTES
from streams.redaction_program import NotRedacted

Json = dict[str, Any]
Redact = Callable[[list[str]], list[str]]

# A text and the attempt that proved it.
Side = tuple[str, Json]

PARTS = ("system_plist", "basic_env_plist", "special_egc_req_plist", "strat_code_req_plist")


def settle(
    run_id: str,
    events: list[Json],
    *,
    settled_by: str,
    extended: bool,
    run_max_bytes: int = RUN_MAX_BYTES,
    redact: Redact | None = None,
) -> Json:
    """The rows of one run: `outcome`, `scored_rows`, `pairs` (those to be garbled included).

    What is to be taken out of texts is no rule of the contract's but the operator's setting, so
    `redact` is the worker's own; where it is applied, and what follows, is written again here.
    """
    run = _collect(run_id, events)
    is_redacted = settled_by == "limit" or redact is None or _redact(run, redact)
    scored_rows = _scored_rows(run)
    reason = _reason(run)
    pairs = [] if reason else _pairs(run, extended=extended)
    if not reason and not pairs:
        reason = "no_shared_prompt"
    if settled_by == "limit" or _is_too_much([*scored_rows, *pairs], run_max_bytes):
        reason, scored_rows, pairs = "too_large", [], []
    if not is_redacted:
        reason, scored_rows, pairs = "not_redacted", [], []
    attempts = run["all_attempts"]
    outcome = {
        "run_id": run["run_id"],
        "outcome": "discarded" if reason else "paired",
        "reason": reason,
        "strategies": len(run["strategies"]),
        "attempts": len(attempts),
        "successes": len([a for a in attempts if _counts(a) and _is_success(a)]),
        "void": len([a for a in attempts if not _counts(a)]),
        "pairs": len(pairs),
        "scored_rows": len(scored_rows),
        "settled_by": settled_by,
        **run["who"],
    }
    return {"outcome": outcome, "scored_rows": scored_rows, "pairs": pairs}


def _is_too_much(rows: list[Json], most: int) -> bool:
    """To within some bytes a row: a whole number stands in the worker's rows with a `.0`."""
    sizes = [_size(row) for row in rows]
    largest = max(map(_with_what_is_garbled, rows, sizes), default=0)
    return sum(sizes) > most or largest > MAX_ROW_BYTES


def _with_what_is_garbled(row: Json, size: int) -> int:
    """A garbled side may take twice what the good one takes, and 100,000 bytes."""
    is_garbled = row.get("rejected") == []
    return size + 2 * _size(row["chosen"][0]["content"]) + 100_000 if is_garbled else size


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _collect(run_id: str, events: list[Json]) -> Json:
    """The first event in each place stands; later ones change nothing."""
    start: Json = {}
    plans: dict[str, Json] = {}
    attempts: dict[tuple[str, int], Json] = {}
    scores: dict[tuple[str, int], float] = {}
    for event in events:
        if event["type"] == "run.started":
            start = start or event
        elif event["type"] == "strategy.proposed":
            plans.setdefault(event["strategy_id"], event)
        elif event["type"] == "code.attempted":
            attempts.setdefault((event["strategy_id"], event["attempt"]), event)
        elif event["type"] == "score.assigned":
            scores.setdefault((event["strategy_id"], event["attempt"]), event["score"])
    for place, score in scores.items():
        attempt = attempts.get(place)
        if attempt is not None and attempt["ran"] and _counts(attempt):
            attempts[place] = {**attempt, "score": score}
    strategies = []
    for strategy_id in sorted(set(plans) | {place[0] for place in attempts}):
        plan = plans.get(strategy_id, {})
        places = sorted(place for place in attempts if place[0] == strategy_id)
        strategies.append(
            {
                "id": strategy_id,
                "text": plan.get("strategy"),
                "full": _full(_own(plan, start, "prompts")),
                "getters": _own(plan, start, "new_sp_egc_s"),
                "attempts": [attempts[place] for place in places if _counts(attempts[place])],
            }
        )
    return {
        "run_id": run_id,
        "started": bool(start),
        "strategies": strategies,
        "all_attempts": list(attempts.values()),
        "is_scored_only": any(place not in attempts for place in scores),
        "who": {name: start.get(name) for name in ("agent_id", "task_id", "policy_id")},
    }


def _redact(run: Json, redact: Redact) -> bool:
    """Put other texts into the strategies that were proposed; false where there are none to put."""
    known = [strategy for strategy in run["strategies"] if strategy["text"] is not None]
    texts: list[str] = []
    for strategy in known:
        texts += [strategy["text"], *(m["content"] for m in strategy["full"] or [])]
        texts += [*(strategy["getters"] or []), *(a["code"] for a in strategy["attempts"])]
    texts = list(dict.fromkeys(texts))
    try:
        instead = dict(zip(texts, redact(texts) if texts else [], strict=True))
    except NotRedacted:
        return False
    for strategy in known:
        strategy["text"] = instead[strategy["text"]]
        if strategy["full"] is not None:
            strategy["full"] = [{**m, "content": instead[m["content"]]} for m in strategy["full"]]
        if strategy["getters"] is not None:
            strategy["getters"] = [instead[text] for text in strategy["getters"]]
        strategy["attempts"] = [{**a, "code": instead[a["code"]]} for a in strategy["attempts"]]
    return True


def _own(plan: Json, start: Json, name: str) -> Any:
    """What the strategy brings itself stands for it; else what the run has."""
    return start.get(name) if plan.get(name) is None else plan[name]


def _full(prompts: Json | None) -> list[Json] | None:
    return None if prompts is None else [m for part in PARTS for m in prompts[part]]


def _counts(attempt: Json) -> bool:
    return attempt.get("fault") is None


def _is_runnable(attempt: Json) -> bool:
    return bool(attempt["compiled"] and attempt["ran"])


def _is_success(attempt: Json) -> bool:
    return _is_runnable(attempt) and attempt["score"] > 0


def _successes(strategy: Json) -> list[Json]:
    return [attempt for attempt in strategy["attempts"] if _is_success(attempt)]


def _failures(strategy: Json) -> list[Json]:
    return [attempt for attempt in strategy["attempts"] if not _is_success(attempt)]


def _is_better(one: Json, other: Json) -> bool:
    """The higher score, and the earlier attempt among equals."""
    if one["score"] == other["score"]:
        return bool(one["attempt"] < other["attempt"])
    return bool(one["score"] > other["score"])


def _best(successes: list[Json]) -> Json:
    best = successes[0]
    for attempt in successes[1:]:
        best = attempt if _is_better(attempt, best) else best
    return best


def _message(role: str, text: str) -> list[Json]:
    return [{"role": role, "content": text}]


def _id(*parts: object) -> str:
    text = chr(31).join("" if part is None else str(part) for part in parts)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


def _scored_rows(run: Json) -> list[Json]:
    known = [s for s in run["strategies"] if s["text"] is not None and s["attempts"]]
    rows = [row for strategy in known for row in _rows_of_strategy(run, strategy)]
    return [row for row in rows if row["prompt"] is not None]


def _rows_of_strategy(run: Json, strategy: Json) -> list[Json]:
    text, full = strategy["text"], strategy["full"]
    successes = _successes(strategy)
    if not any(_is_runnable(attempt) for attempt in strategy["attempts"]):
        getters = strategy["getters"]
        prompt = _message("user", "\n\n".join(getters)) if getters else None
        return [_row(run, strategy, "strategy_not_runnable", None, prompt, text)]
    if not successes:
        return [_row(run, strategy, "strategy_without_effect", None, full, text)]
    rows = [
        _row(run, strategy, "code_success", attempt, _message("user", text), attempt["code"])
        for attempt in successes
    ]
    return [*rows, _row(run, strategy, "strategy_success", _best(successes), full, text)]


def _row(
    run: Json, strategy: Json, kind: str, attempt: Json | None, prompt: Any, response: str
) -> Json:
    number = attempt["attempt"] if attempt else None
    return {
        "row_id": _id(run["run_id"], strategy["id"], kind, number),
        "run_id": run["run_id"],
        "strategy_id": strategy["id"],
        "kind": kind,
        "attempt": number,
        "prompt": prompt,
        "response": _message("assistant", response),
        "score": attempt["score"] if attempt else 0,
        **run["who"],
    }


def _reason(run: Json) -> str | None:
    counting = [attempt for attempt in run["all_attempts"] if _counts(attempt)]
    is_torn = any(s["text"] is None for s in run["strategies"]) or run["is_scored_only"]
    if not run["started"] or is_torn:
        return "incomplete"
    if run["all_attempts"] and not counting:
        return "void"
    if not any(_is_runnable(attempt) for attempt in counting):
        return "no_runnable_code"
    if not any(_is_success(attempt) for attempt in counting):
        return "never_succeeded"
    return None


def _pairs(run: Json, *, extended: bool) -> list[Json]:
    is_mixed = any(_failures(strategy) for strategy in run["strategies"])
    pairs = []
    for strategy in filter(_successes, run["strategies"]):
        if _failures(strategy):
            pairs.extend(_mixed(run, strategy))
        elif extended or not is_mixed:
            pairs.extend(_first_time(run, strategy))
    if is_mixed and extended:
        pairs.extend(_contrasts(run))
    return pairs


def _first_time(run: Json, strategy: Json) -> list[Json]:
    best, text, full = _best(_successes(strategy)), strategy["text"], strategy["full"]
    of_strategy = _pair(run, strategy, "first_time_strategy", full, (text, best), None)
    code, prompt = (best["code"], best), _message("user", text)
    return [of_strategy, _pair(run, strategy, "first_time_code", prompt, code, None)]


def _mixed(run: Json, strategy: Json) -> list[Json]:
    best = _best(_successes(strategy))
    seen, pairs = {best["code"]}, []
    for failure in _failures(strategy):
        if failure["code"] not in seen:
            seen.add(failure["code"])
            winner, loser = (best["code"], best), (failure["code"], failure)
            prompt = _message("user", strategy["text"])
            pairs.append(_pair(run, strategy, "mixed_code", prompt, winner, loser))
    return pairs


def _contrasts(run: Json) -> list[Json]:
    proven = list(filter(_successes, run["strategies"]))
    proof = _best([_best(_successes(strategy)) for strategy in proven])
    winner = next(strategy for strategy in proven if proof in strategy["attempts"])
    pairs = []
    for strategy in run["strategies"]:
        tried = strategy["attempts"]
        # A strategy that was never tried has not failed, and equal texts are no preference.
        if not tried or _successes(strategy) or strategy["text"] == winner["text"]:
            continue
        if strategy["full"] == winner["full"]:
            chosen = (winner["text"], _best(_successes(winner)))
            loser = (strategy["text"], tried[0])
            pairs.append(_pair(run, strategy, "strategy_contrast", winner["full"], chosen, loser))
    return pairs


def _pair(
    run: Json, strategy: Json, rule: str, prompt: Any, chosen: Side, rejected: Side | None
) -> Json:
    good, proof = chosen
    loser = rejected[1]["attempt"] if rejected else None
    return {
        "pair_id": _id(run["run_id"], strategy["id"], rule, proof["attempt"], loser),
        "run_id": run["run_id"],
        "strategy_id": strategy["id"],
        "rule": rule,
        "prompt": prompt,
        "chosen": _message("assistant", good),
        "rejected": _message("assistant", rejected[0]) if rejected else [],
        "chosen_score": proof["score"],
        "rejected_score": rejected[1]["score"] if rejected else None,
        "chosen_attempt": proof["attempt"],
        "rejected_attempt": loser,
        "garbler": None,
        **run["who"],
    }
