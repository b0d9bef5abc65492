"""Trainings as text for people."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from pairstream.terminal import aligned, labelled, printable, shortened, shown_time
from pairstream.training_facts import TrainingFacts, TrainingStory
from trainer.policies import shown_span

DETAIL_WIDTH = 100

# Of a manifest, what the screen shows elsewhere or not at all.
_TOLD_APART = frozenset(
    {"training_id", "dataset", "gate", "figures", "files", "arguments", "started_at",
     "finished_at", "exit_code", "why", "interruptions"}
)  # fmt: skip


def list_lines(trainings: Sequence[TrainingFacts], now: datetime) -> Iterator[str]:
    """Oldest first, by their first signs of life."""
    if not trainings:
        yield "no trainings yet"
        return
    head = ["training", "state", "dataset", "model", "gate", "age", "took", ""]
    yield from aligned([head, *(_row(training, now) for training in trainings)])


def _row(training: TrainingFacts, now: datetime) -> list[str]:
    begun = training.requested_at or training.started_at or training.time
    seconds = training.seconds(now)
    return [
        training.training_id,
        training.state,
        training.dataset or "-",
        _model(training),
        training.gate.word if training.gate else "-",
        "-" if begun is None else shown_age((now - begun).total_seconds()),
        "-" if seconds is None else shown_span(timedelta(seconds=max(0.0, seconds))),
        shortened(printable(_note(training)), DETAIL_WIDTH),
    ]


def _model(training: TrainingFacts) -> str:
    if training.is_latest:
        return "latest"
    return "archived" if training.archive else "-"


def _note(training: TrainingFacts) -> str:
    if training.is_cancelled:
        return "is being cancelled"
    if training.waits is not None:
        return f"waits: {training.waits.why}"
    if training.progress is not None:
        return f"step {training.progress.step} of {training.progress.steps}"
    return (training.detail or "") if training.state == "failed" else ""


def shown_age(seconds: float) -> str:
    """In the largest unit that fills: `40s`, `12m`, `7h`, `3d`."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"


def story_lines(story: TrainingStory, now: datetime) -> Iterator[str]:
    facts = story.facts
    yield labelled("training", facts.training_id)
    yield labelled("state", facts.state + (f", {_note(facts)}" if _note(facts) else ""))
    yield labelled("dataset", facts.dataset or "lies elsewhere")
    yield labelled("model", facts.archive or "none")
    if facts.gate is not None:
        yield labelled("gate", f"{facts.gate.word} ({facts.gate.told})")
    if facts.exit_code is not None:
        yield labelled("exit code", str(facts.exit_code))
    if facts.detail and facts.state == "failed":
        yield labelled("why", facts.detail)
    if facts.waits is not None:
        yield labelled("waits since", shown_time(facts.waits.since))
    seconds = facts.seconds(now)
    if seconds is not None:
        yield labelled("took", shown_span(timedelta(seconds=max(0.0, seconds))))
    if facts.interruptions:
        yield labelled("interruptions", str(facts.interruptions))
    yield labelled("folder", story.folder)
    yield from _manifest_lines(story)
    yield "steps" if story.steps else "steps: its folder has none"
    yield from (f"  {line}" for line in _step_lines(story))


def _manifest_lines(story: TrainingStory) -> Iterator[str]:
    if story.manifest is None:
        return
    for name, value in msgspec.to_builtins(story.manifest).items():
        if name not in _TOLD_APART and isinstance(value, str):
            yield labelled(name, value)
    yield labelled("arguments", " ".join(story.manifest.arguments) or "none")


def _step_lines(story: TrainingStory) -> Iterator[str]:
    rows = [
        [note.time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), note.step,
         shortened(note.detail or "", DETAIL_WIDTH)]
        for note in story.steps
    ]  # fmt: skip
    if rows:
        yield from aligned(rows)
