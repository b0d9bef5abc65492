"""Models as text for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from pairstream.forgotten_text import marked_line
from pairstream.models import Comparison, Model, ModelFacts, Shelf
from pairstream.terminal import (
    LABEL_WIDTH,
    aligned,
    counted,
    labelled,
    printable,
    shortened,
    shown_time,
)
from trainer.latest import Change
from trainer.verdict import Check, Verdict

WHY_WIDTH = 120

# Of a model's figures, those that stand in the list.
SHOWN = ("accuracy", "margin", "chosen_logps")

NEVER = "never judged"

# Fields of a manifest that the screen shows under other names, or elsewhere.
_TOLD_APART = frozenset({"training_id", "dataset", "gate", "figures", "files", "arguments"})


def shelf_lines(shelf: Shelf) -> Iterator[str]:
    if not shelf.models:
        yield "no models yet"
        return
    head = ["", "model", "trained", "dataset", "trained on", "gate", *SHOWN]
    yield from aligned([head, *(_row(model) for model in shelf.models)])
    yield from _latest_lines(shelf)
    marked = [model.training_id for model in shelf.models if model.learnt_from_forgotten]
    if marked:
        yield f"learnt from runs that were forgotten since: {', '.join(marked)}"


def _row(model: ModelFacts) -> list[str]:
    figures = model.figures or {}
    return [
        "*" if model.is_latest else "",
        model.training_id,
        shown_time(model.time),
        model.dataset,
        "" if model.pairs is None else str(model.pairs),
        verdict_word(model.gate) if model.archive else "not published yet",
        *(_shown(figures.get(name)) for name in SHOWN),
    ]


def _latest_lines(shelf: Shelf) -> Iterator[str]:
    last = shelf.history[-1] if shelf.history else None
    if shelf.latest is None:
        yield "* latest: none yet"
    elif last is not None and last.training_id == shelf.latest:
        yield f"* latest since {change_line(last)}"
    else:
        yield "* latest"


def change_line(change: Change) -> str:
    before = f", in place of {change.before}" if change.before else ""
    why = f": {change.why}" if change.why else ""
    told = f"{change.training_id} {change.what} by {change.by}{before}{why}"
    return f"{shown_time(change.time)}  {shortened(printable(told), WHY_WIDTH)}"


def verdict_word(verdict: Verdict | None) -> str:
    return NEVER if verdict is None else verdict.word


def model_lines(model: Model) -> Iterator[str]:
    manifest = model.manifest
    yield labelled("model", manifest.training_id + (" (latest)" if model.is_latest else ""))
    yield labelled("dataset", _dataset(model))
    yield labelled("archive", model.archive or "not published yet")
    for name, value in msgspec.to_builtins(manifest).items():
        if name not in _TOLD_APART and value is not None:
            yield from _value_lines(name, value)
    yield labelled("arguments", " ".join(manifest.arguments) or "none")
    yield from _gate_lines(manifest.gate)
    yield "figures"
    rest = {name: value for name, value in (manifest.figures or {}).items() if name != "gate"}
    yield from (line for name, value in rest.items() for line in _value_lines(name, value, "  "))
    yield "files, with their SHA-256"
    yield from (f"  {digest}  {printable(name)}" for name, digest in manifest.files.items())
    yield "changes of latest" if model.history else "never was latest"
    yield from (f"  {change_line(change)}" for change in model.history)
    if model.forgotten:
        yield "learnt from runs that were forgotten since"
    for dataset, runs in model.forgotten.items():
        yield from (f"  {printable(dataset)}: {marked_line(run)}" for run in runs)


def _dataset(model: Model) -> str:
    name, dataset = model.manifest.dataset, model.dataset
    if dataset is None:
        return f"{name}, which lies elsewhere"
    rules = ", ".join(f"{number} {rule}" for rule, number in dataset.rules.items())
    return f"{name}: {counted(dataset.pairs, 'pair')} of {counted(dataset.runs, 'run')}: {rules}"


def _gate_lines(verdict: Verdict | None) -> Iterator[str]:
    yield labelled("gate", verdict_word(verdict))
    if verdict is None:
        return
    if verdict.note:
        yield f"  {printable(verdict.note)}"
    if verdict.checks:
        head = ["check", "", "base", "candidate", "wanted", "note"]
        rows = [head, *(_check_row(check) for check in verdict.checks)]
        yield from (f"  {line}" for line in aligned(rows))
        yield f"  on {counted(verdict.pairs, 'held-out pair')}"


def _check_row(check: Check) -> list[str]:
    word = {True: "passed", False: "refused", None: "not judged"}[check.passed]
    note = shortened(check.note or "", WHY_WIDTH)
    figures = [_shown(check.base), _shown(check.candidate)]
    return [check.name, word, *figures, check.limit or "", note]


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    yield from _section("figures", comparison.models, comparison.figures)
    if comparison.figures and not comparison.same_held_out:
        yield "  measured on different held-out pairs: compare each with its own base"
    yield from _section("recipe", comparison.models, comparison.recipe)
    yield from _section("dataset", comparison.models, comparison.dataset)


def _section(
    name: str, models: Sequence[str], values: Mapping[str, tuple[Any, Any]]
) -> Iterator[str]:
    if not values:
        nothing = "neither measured any" if name == "figures" else "no difference"
        yield f"{name}: {nothing}"
        return
    rows = [[each, *map(_shown, pair)] for each, pair in values.items()]
    yield from aligned([[name, *models], *rows])


def _value_lines(name: str, value: Any, indent: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        yield f"{indent}{printable(name)}"
        for key, item in value.items():
            yield from _value_lines(str(key), item, indent + "  ")
    else:
        yield f"{indent}{printable(name):<{LABEL_WIDTH}} {_shown(value)}"


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else printable(str(value))
