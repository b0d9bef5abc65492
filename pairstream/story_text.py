"""A story as text for people."""

from collections.abc import Iterator

import msgspec

from pairstream.lineage_text import models_of_run_lines
from pairstream.overview_text import training_line
from pairstream.pair_places import LeftOutPlace
from pairstream.run_events import EventFacts
from pairstream.story import PairFacts, ScoredRowFacts, Story
from pairstream.terminal import counted, printable, printable_lines, shortened, shown_time
from schemas.rows import DiscardReason, Outcome, SettledBy

ID_WIDTH = 80
DETAIL_WIDTH = 200

REASONS: dict[DiscardReason, str] = {
    "incomplete": "a part of it never came, so it cannot be judged",
    "void": "all its attempts are void: they tell nothing about the agent",
    "no_runnable_code": "none of its attempts compiled and ran",
    "never_succeeded": "none of its attempts scored above 0: there is nothing to choose",
    "no_shared_prompt": "no strategy of it has both a success and a failure with another text, so "
    "nothing stands against each other under one prompt",
    "too_large": "its events, or the rows that they would give, are larger than "
    "PAIRSTREAM_RUN_MAX_BYTES allows",
    "not_redacted": "the program of PAIRSTREAM_REDACT_COMMAND failed on its texts, so no row was "
    "made of them",
}

ENDS: dict[SettledBy, str] = {
    "finished": "run.finished",
    "timeout": "its silence",
    "limit": "the event with which it became too large",
}

VERDICTS = {
    "taken_in": "",
    "settles": "settles the run",
    "duplicate": "says what was said before: changes nothing",
    "unknown_type": "its type is not known: skipped",
    "beyond_limit": "ignored: the run was too large before",
    "overtaken": "came to nothing: another event came before it, or the run was settled",
}

PAIR_STATES = {
    "waits_for_garbling": "waits for its garbled side",
    "in_topic": "in the topic; not taken in by the trainer of this data directory",
    "in_segment": "taken in; waits for the next dataset",
}


def story_lines(story: Story) -> Iterator[str]:
    yield from _summary_lines(story)
    yield f"events, by partition/offset: {len(story.events) or 'none, or no longer kept'}"
    for event in story.events:
        yield from _event_lines(event)
    if story.dead_letters:
        yield f"other dead letters: {len(story.dead_letters)}"
    for letter in story.dead_letters:
        detail = shortened(printable(letter.detail), DETAIL_WIDTH)
        yield f"  {printable(letter.reason)}: {detail} ({letter.place})"
    yield f"scored rows: {len(story.scored_rows)}"
    for row in story.scored_rows:
        yield from _scored_row_lines(row)
    yield f"pairs: {len(story.pairs)}"
    for pair in story.pairs:
        yield from _pair_lines(pair)
    yield from models_of_run_lines(story.models)
    for place in story.unreadable:
        yield f"not readable as a row: {place}"


def _shown_id(text: str) -> str:
    return shortened(printable(text), ID_WIDTH)


def _summary_lines(story: Story) -> Iterator[str]:
    state = "open" if story.expires_at else "not settled"
    if story.outcomes:
        state = story.outcomes[-1].outcome
    yield f"run {_shown_id(story.run_id)}: {state}"
    if story.forgotten is not None:
        yield f"  forgotten {shown_time(story.forgotten)}: no new dataset takes its pairs"
    for outcome in story.outcomes:
        yield f"  {_why(outcome, story)}"
        yield f"  {_figures(outcome)}"
    if not story.outcomes:
        yield f"  {_why_no_outcome(story)}"
        if story.fate.missing and story.events:
            yield f"  not there yet: {_missing(story)}"


def _why(outcome: Outcome, story: Story) -> str:
    if outcome.reason is None:
        return f"it gave {counted(outcome.pairs, 'pair')}"
    why = f"{outcome.reason}: {REASONS[outcome.reason]}"
    if outcome.reason == "incomplete" and story.fate.missing:
        why += f" (missing: {_missing(story)})"
    return why


def _missing(story: Story) -> str:
    return ", ".join(_shown_id(part) for part in story.fate.missing)


def _figures(outcome: Outcome) -> str:
    strategies = counted(outcome.strategies, "strategy", "strategies")
    attempts = counted(outcome.attempts, "attempt")
    successes = counted(outcome.successes, "success", "successes")
    scored_rows = counted(outcome.scored_rows, "scored row")
    return (
        f"{strategies}, {attempts}: {successes}, {outcome.void} void; {scored_rows}; "
        f"settled by {ENDS[outcome.settled_by]}"
    )


def _why_no_outcome(story: Story) -> str:
    fate = story.fate
    if story.expires_at is not None and fate.last_seen is not None:
        return (
            f"{counted(fate.taken_in, 'event')} taken in, none ends it; last seen "
            f"{shown_time(fate.last_seen)}; if it stays silent, a worker settles it as it stands "
            f"at about {shown_time(story.expires_at)}"
        )
    if fate.state == "settled":
        return (
            "its events settle it, but there is no outcome: no worker has done with them yet, or "
            "the outcome is no longer kept"
        )
    if story.events or story.dead_letters:
        return "no event of it was taken in, so it is no run yet"
    return "its events and its outcome are no longer kept"


def _event_lines(event: EventFacts) -> Iterator[str]:
    says = printable(event.says)
    kind = shortened(printable(event.type or "no event"), ID_WIDTH)
    head = f"  {event.partition}/{event.offset}  {shown_time(event.time)}  {kind}"
    yield f"{head}  {says}".rstrip()
    if event.verdict == "refused":
        detail = shortened(printable(event.detail or ""), DETAIL_WIDTH)
        yield f"      refused: {event.reason}: {detail}"
    elif VERDICTS[event.verdict]:
        yield f"      {VERDICTS[event.verdict]}"
    if event.dead_letter is not None:
        yield f"      dead letter {event.dead_letter}"
    if not event.committed:
        yield "      no worker has done with it yet"
    if event.content is not None:
        yield from _content_lines(event.content, "      ")


def _scored_row_lines(row: ScoredRowFacts) -> Iterator[str]:
    attempt = "" if row.attempt is None else f" attempt {row.attempt}"
    yield f"  {row.kind}  {_shown_id(row.strategy_id)}{attempt}  score {row.score:g}"
    if row.row is not None:
        yield from _content_lines(msgspec.to_builtins(row.row), "      ")


def _pair_lines(pair: PairFacts) -> Iterator[str]:
    chosen = _side(pair.chosen_attempt, pair.chosen_score)
    rejected = _side(pair.rejected_attempt, pair.rejected_score)
    if pair.rejected_attempt is None:
        rejected = _garbled_side(pair)
    pair_id, strategy = _shown_id(pair.pair_id), _shown_id(pair.strategy_id)
    yield f"  {pair_id}  {pair.rule}  {strategy}  chosen {chosen}, rejected {rejected}"
    if pair.left_out is not None:
        yield f"      {_left_out(pair.left_out)}"
    elif pair.dataset is None:
        yield f"      {PAIR_STATES[pair.state]}"
    else:
        yield f"      in {pair.dataset.dataset}/{pair.dataset.file}"
        if not pair.dataset.trainings:
            yield "      no training on it in this data directory"
        yield from (f"      {training_line(training)}" for training in pair.dataset.trainings)
    if pair.pair is not None:
        yield from _content_lines(msgspec.to_builtins(pair.pair), "      ")


def _garbled_side(pair: PairFacts) -> str:
    if pair.garbler is None:
        return "to be garbled"
    garbler = _shown_id(pair.garbler)
    if pair.garbled_distance is None:
        return f"garbled ({garbler})"
    return f"garbled ({garbler}, distance {pair.garbled_distance:g})"


def _left_out(left_out: LeftOutPlace) -> str:
    if left_out.waits:
        return f"waits for the next dataset; not in {left_out.dataset}: {left_out.reason}"
    return f"left out of {left_out.dataset} for good: {left_out.reason}"


def _side(attempt: int | None, score: float | None) -> str:
    return f"attempt {attempt} (score {score:g})" if score is not None else f"attempt {attempt}"


def _content_lines(value: object, indent: str, name: str = "") -> Iterator[str]:
    """Fields and texts as they stand, each on lines of its own; what is null is left out."""
    label = f"{indent}{name}: " if name else indent
    deeper = indent + "  "
    if isinstance(value, dict):
        if name:
            yield label.rstrip()
        for key, item in value.items():
            if item is not None:
                yield from _content_lines(item, deeper if name else indent, str(key))
    elif isinstance(value, list):
        yield label.rstrip()
        for item in value:
            yield from _content_lines(item, deeper)
    elif isinstance(value, str) and "\n" in value:
        yield label.rstrip()
        yield printable_lines(value, indent=deeper)
    else:
        yield f"{label}{printable(str(value))}"
