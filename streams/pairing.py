"""How a settled run becomes rows: the contract's section 4 as two tables. Pure.

`COMPOSITION` is section 4.1, `JUDGEMENTS` and `PAIRING` are section 4.2, line by line.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from schemas.events import CodeAttempted, Message
from schemas.rows import (
    DiscardReason,
    GarbleRequest,
    Outcome,
    Pair,
    PairRule,
    ScoredRow,
    ScoredRowKind,
    SettledBy,
    assistant_message,
    pair_id,
    row_id,
    user_message,
)
from streams.runs import Run

Prompt = list[Message] | None

# As many texts, in the same order.
Redact = Callable[[list[str]], list[str]]


class Strategy:
    """A proposed strategy with those of its attempts that count, by number: none is void.

    `full` and `getters` are None where the run does not know them. `best` has the best score, ties
    go to the earliest; only strategies with a success have one.
    """

    __slots__ = (
        "attempts", "best", "failures", "full", "getters", "strategy_id", "successes", "text"
    )  # fmt: skip

    def __init__(
        self,
        strategy_id: str,
        text: str,
        full: Prompt,
        getters: Sequence[str] | None,
        attempts: Sequence[CodeAttempted],
    ) -> None:
        self.strategy_id = strategy_id
        self.text = text
        self.full = full
        self.getters = getters
        self.attempts = attempts
        self.successes = [attempt for attempt in attempts if attempt.is_success]
        self.failures = [attempt for attempt in attempts if not attempt.is_success]
        if self.successes:
            # The attempts come by number, and max() keeps the first of equals.
            self.best = max(self.successes, key=attrgetter("score"))

    def texts(self) -> Iterable[str]:
        """All that rows may be made of."""
        yield self.text
        yield from (message.content for message in self.full or ())
        yield from self.getters or ()
        yield from (attempt.code for attempt in self.attempts)

    def with_texts(self, instead: Mapping[str, str]) -> "Strategy":
        """The same with other texts."""
        return Strategy(
            self.strategy_id,
            instead[self.text],
            self.full and [Message(each.role, instead[each.content]) for each in self.full],
            self.getters and [instead[text] for text in self.getters],
            [replace(attempt, code=instead[attempt.code]) for attempt in self.attempts],
        )

    @property
    def is_runnable(self) -> bool:
        return any(attempt.is_runnable for attempt in self.attempts)

    @property
    def worked_first_time(self) -> bool:
        return bool(self.successes) and not self.failures


class Settlement(Struct, frozen=True, gc=False):
    """All that one settled run gives, in an order that owes nothing to arrival."""

    outcome: Outcome
    scored_rows: list[ScoredRow]
    pairs: list[Pair]
    garble_requests: list[GarbleRequest]


# --- Scored rows ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Composition:
    """One line of the composition table: a row for each of `each` (None: the whole strategy)."""

    kind: ScoredRowKind
    each: Callable[[Strategy], Sequence[CodeAttempted | None]]
    prompt: Callable[[Strategy], Prompt]
    response: Callable[[Strategy, CodeAttempted | None], str]
    score: Callable[[CodeAttempted | None], float]


def _full(strategy: Strategy) -> Prompt:
    return strategy.full


def _getters(strategy: Strategy) -> Prompt:
    return user_message("\n\n".join(strategy.getters)) if strategy.getters else None


def _strategy_as_prompt(strategy: Strategy) -> Prompt:
    return user_message(strategy.text)


def _strategy_text(strategy: Strategy, _: CodeAttempted | None) -> str:
    return strategy.text


def _code(_: Strategy, attempt: CodeAttempted | None) -> str:
    assert attempt is not None
    return attempt.code


def _score(attempt: CodeAttempted | None) -> float:
    return attempt.score if attempt is not None else 0.0


def _when_without_effect(strategy: Strategy) -> Sequence[None]:
    return [None] if not strategy.successes and strategy.is_runnable else []


def _when_not_runnable(strategy: Strategy) -> Sequence[None]:
    return [None] if not strategy.is_runnable else []


def _each_success(strategy: Strategy) -> Sequence[CodeAttempted]:
    return strategy.successes


def _best_success(strategy: Strategy) -> Sequence[CodeAttempted]:
    return [strategy.best] if strategy.successes else []


COMPOSITION = (
    Composition("strategy_without_effect", _when_without_effect, _full, _strategy_text, _score),
    Composition("strategy_not_runnable", _when_not_runnable, _getters, _strategy_text, _score),
    Composition("code_success", _each_success, _strategy_as_prompt, _code, _score),
    Composition("strategy_success", _best_success, _full, _strategy_text, _score),
)


def _scored_rows(run: Run, strategies: Iterable[Strategy]) -> list[ScoredRow]:
    rows = []
    for strategy in strategies:
        if not strategy.attempts:
            continue
        for line in COMPOSITION:
            attempts = line.each(strategy)
            prompt = line.prompt(strategy) if attempts else None
            if prompt is not None:
                rows += [_scored_row(run, strategy, line, prompt, attempt) for attempt in attempts]
    return rows


def _scored_row(
    run: Run,
    strategy: Strategy,
    line: Composition,
    prompt: list[Message],
    attempt: CodeAttempted | None,
) -> ScoredRow:
    number = attempt.attempt if attempt else None
    started = run.started
    return ScoredRow(
        row_id=row_id(run.run_id, strategy.strategy_id, line.kind, number),
        run_id=run.run_id,
        strategy_id=strategy.strategy_id,
        kind=line.kind,
        attempt=number,
        prompt=prompt,
        response=assistant_message(line.response(strategy, attempt)),
        score=line.score(attempt),
        agent_id=started.agent_id if started else None,
        task_id=started.task_id if started else None,
        policy_id=started.policy_id if started else None,
    )


# --- Pairs ---------------------------------------------------------------------------------------


class Side(Struct, frozen=True, gc=False):
    """The chosen or rejected side of a pair."""

    text: str
    attempt: int | None
    score: float | None


class Candidate(Struct, frozen=True, gc=False):
    """A pair before it has an id; `rejected` is None where it is to be garbled."""

    strategy_id: str
    prompt: list[Message]
    chosen: Side
    rejected: Side | None


def _best_code(strategy: Strategy) -> Side:
    return Side(strategy.best.code, strategy.best.attempt, strategy.best.score)


def _proven(strategy: Strategy) -> Side:
    return Side(strategy.text, strategy.best.attempt, strategy.best.score)


def _first_time_strategy(strategies: Sequence[Strategy]) -> Iterable[Candidate]:
    for strategy in strategies:
        if strategy.worked_first_time and strategy.full is not None:
            yield Candidate(strategy.strategy_id, strategy.full, _proven(strategy), None)


def _first_time_code(strategies: Sequence[Strategy]) -> Iterable[Candidate]:
    for strategy in strategies:
        if strategy.worked_first_time:
            prompt = user_message(strategy.text)
            yield Candidate(strategy.strategy_id, prompt, _best_code(strategy), None)


def _mixed_code(strategies: Sequence[Strategy]) -> Iterable[Candidate]:
    for strategy in strategies:
        if not strategy.successes:
            continue
        texts = {strategy.best.code}
        for failure in strategy.failures:
            if failure.code not in texts:
                texts.add(failure.code)
                yield Candidate(
                    strategy.strategy_id,
                    user_message(strategy.text),
                    _best_code(strategy),
                    Side(failure.code, failure.attempt, failure.score),
                )


def _strategy_contrast(strategies: Sequence[Strategy]) -> Iterable[Candidate]:
    """The pair bears the rejected strategy's id: the chosen one's would be the same for all."""
    proven = [strategy for strategy in strategies if strategy.successes]
    if not proven:
        return
    best = max(proven, key=lambda strategy: (strategy.best.score, -strategy.best.attempt))
    for strategy in strategies:
        if (
            strategy.attempts
            and not strategy.successes
            and strategy.full is not None
            and strategy.full == best.full
            and strategy.text != best.text
        ):
            first = strategy.attempts[0]
            yield Candidate(
                strategy.strategy_id,
                strategy.full,
                _proven(best),
                Side(strategy.text, first.attempt, first.score),
            )


@dataclass(frozen=True)
class Pairing:
    """One line of the pairing table; `garbled` names the response that gets a garbled twin."""

    rule: PairRule
    runs: Literal["first time", "mixed"]
    extended: bool
    candidates: Callable[[Sequence[Strategy]], Iterable[Candidate]]
    garbled: Literal["strategy", "code"] | None


PAIRING = (
    Pairing("first_time_strategy", "first time", False, _first_time_strategy, "strategy"),
    Pairing("first_time_code", "first time", False, _first_time_code, "code"),
    Pairing("mixed_code", "mixed", False, _mixed_code, None),
    Pairing("strategy_contrast", "mixed", True, _strategy_contrast, None),
    Pairing("first_time_strategy", "mixed", True, _first_time_strategy, "strategy"),
    Pairing("first_time_code", "mixed", True, _first_time_code, "code"),
)


class Tally(NamedTuple):
    """Counts of a run's attempts; `runnable` and `successes` leave out the void ones."""

    attempts: int
    void: int
    runnable: int
    successes: int


def _tally(run: Run) -> Tally:
    void = runnable = successes = 0
    for attempt in run.attempts.values():
        if attempt.is_void:
            void += 1
        elif attempt.is_runnable:
            runnable += 1
            successes += attempt.score > 0
    return Tally(len(run.attempts), void, runnable, successes)


def _is_incomplete(run: Run, _: Tally) -> bool:
    proposed = run.strategies
    return (
        run.started is None
        or any(strategy_id not in proposed for strategy_id, _ in run.attempts)
        or any(place not in run.attempts for place in run.scores)
    )


def _is_void(_: Run, tally: Tally) -> bool:
    return 0 < tally.attempts == tally.void


def _has_no_runnable(_: Run, tally: Tally) -> bool:
    return not tally.runnable


def _has_no_success(_: Run, tally: Tally) -> bool:
    return not tally.successes


JUDGEMENTS: tuple[tuple[DiscardReason, Callable[[Run, Tally], bool]], ...] = (
    ("incomplete", _is_incomplete),
    ("void", _is_void),
    ("no_runnable_code", _has_no_runnable),
    ("never_succeeded", _has_no_success),
)


def _pairs(
    run: Run, strategies: Sequence[Strategy], *, extended: bool
) -> tuple[list[Pair], list[GarbleRequest]]:
    is_mixed = any(strategy.failures for strategy in strategies)
    pairs: list[Pair] = []
    requests: list[GarbleRequest] = []
    for line in PAIRING:
        if (line.runs == "mixed") != is_mixed or (line.extended and not extended):
            continue
        for candidate in line.candidates(strategies):
            pair = _pair(run, line.rule, candidate)
            if line.garbled is None:
                pairs.append(pair)
            else:
                requests.append(GarbleRequest(line.garbled, pair))
    return pairs, requests


def _pair(run: Run, rule: PairRule, candidate: Candidate) -> Pair:
    chosen, rejected = candidate.chosen, candidate.rejected
    rejected_attempt = rejected.attempt if rejected else None
    return Pair(
        pair_id=pair_id(run.run_id, candidate.strategy_id, rule, chosen.attempt, rejected_attempt),
        run_id=run.run_id,
        strategy_id=candidate.strategy_id,
        rule=rule,
        prompt=candidate.prompt,
        chosen=assistant_message(chosen.text),
        rejected=assistant_message(rejected.text) if rejected else [],
        chosen_score=chosen.score,
        rejected_score=rejected.score if rejected else None,
        chosen_attempt=chosen.attempt,
        rejected_attempt=rejected_attempt,
        garbler=None,
        agent_id=run.started.agent_id if run.started else None,
        task_id=run.started.task_id if run.started else None,
        policy_id=run.started.policy_id if run.started else None,
    )


# --- Settling ------------------------------------------------------------------------------------


def settle(
    run: Run,
    settled_by: SettledBy,
    *,
    extended: bool,
    scored: bool = True,
    redact: Redact | None = None,
) -> Settlement:
    """Judge a run as it stands; not `scored`: for its pairs alone, without its scored rows.

    Redacted before anything is compared, so that texts which differ in a secret alone are equal.

    Raises: what `redact` does.
    Guarantee: a function of the run's events alone, whatever the order in which they came.
    A run is `paired` only when it gives a pair.
    """
    run = run.judged()
    strategies = _strategies(run)
    if redact is not None:
        strategies = _redacted(strategies, redact)
    scored_rows = _scored_rows(run, strategies) if scored else []
    tally = _tally(run)
    reason = next((reason for reason, applies in JUDGEMENTS if applies(run, tally)), None)
    pairs: list[Pair] = []
    requests: list[GarbleRequest] = []
    if reason is None:
        pairs, requests = _pairs(run, strategies, extended=extended)
        if not pairs and not requests:
            reason = "no_shared_prompt"
    pair_count = len(pairs) + len(requests)
    outcome = _outcome(run, settled_by, reason, tally, pair_count, len(scored_rows))
    return Settlement(outcome, scored_rows, pairs, requests)


def give_up(run: Run, settled_by: SettledBy, reason: DiscardReason = "too_large") -> Settlement:
    """Discard a run that is larger than it may be, or whose rows would be: it gives none."""
    tally = _tally(run.judged())
    return Settlement(_outcome(run, settled_by, reason, tally, 0, 0), [], [], [])


def _redacted(strategies: list[Strategy], redact: Redact) -> list[Strategy]:
    """Each text once, since prompts are most of them and stand in every strategy."""
    texts = list(dict.fromkeys(text for strategy in strategies for text in strategy.texts()))
    if not texts:
        return strategies
    instead = dict(zip(texts, redact(texts), strict=True))
    return [strategy.with_texts(instead) for strategy in strategies]


def _strategies(run: Run) -> list[Strategy]:
    started = run.started
    attempts: dict[str, list[CodeAttempted]] = {strategy_id: [] for strategy_id in run.strategies}
    for (strategy_id, _), attempt in sorted(run.attempts.items()):
        if strategy_id in attempts and not attempt.is_void:
            attempts[strategy_id].append(attempt)
    result = []
    for strategy_id, proposed in sorted(run.strategies.items()):
        prompts = proposed.prompts or (started.prompts if started else None)
        getters = proposed.new_sp_egc_s
        if getters is None and started is not None:
            getters = started.new_sp_egc_s
        result.append(
            Strategy(
                strategy_id,
                proposed.strategy,
                prompts.full() if prompts else None,
                getters,
                attempts[strategy_id],
            )
        )
    return result


def _outcome(
    run: Run,
    settled_by: SettledBy,
    reason: DiscardReason | None,
    tally: Tally,
    pairs: int,
    scored_rows: int,
) -> Outcome:
    started = run.started
    return Outcome(
        run_id=run.run_id,
        outcome="paired" if reason is None else "discarded",
        reason=reason,
        strategies=len(run.strategies.keys() | {strategy_id for strategy_id, _ in run.attempts}),
        attempts=tally.attempts,
        successes=tally.successes,
        void=tally.void,
        pairs=pairs,
        scored_rows=scored_rows,
        settled_by=settled_by,
        agent_id=started.agent_id if started else None,
        task_id=started.task_id if started else None,
        policy_id=started.policy_id if started else None,
    )
