"""Datasets and their differences as text for people."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from pairstream.dataset_diff import DatasetDiff, RuleDifference
from pairstream.dataset_facts import DatasetDetails, DatasetEntry
from pairstream.forgotten_text import marked_line
from pairstream.overview_text import training_line
from pairstream.terminal import aligned, counted, labelled, printable, shown_time
from pairstream.token_counts import TokenCounts
from trainer.composition import Composition, Quantiles, Shares
from trainer.datasets import DatasetManifest

HEAD = ("dataset", "cut", "pairs", "runs", "held out", "garbled", "parent", "trainings")
NUMBERS = {HEAD.index(name) for name in ("pairs", "runs", "held out", "garbled")}

_labelled = partial(labelled, width=17)


def list_lines(entries: Sequence[DatasetEntry]) -> Iterator[str]:
    """One line a dataset, under a head."""
    return aligned([HEAD, *map(_cells, entries)], right=NUMBERS)


def _cells(entry: DatasetEntry) -> tuple[str, ...]:
    trainings = (f"{training.training_id} {training.state}" for training in entry.trainings)
    return (
        entry.name,
        shown_time(entry.created_at),
        str(entry.pairs),
        str(entry.runs),
        str(entry.held_out),
        "-" if entry.garbled is None else _percent(entry.garbled, entry.pairs),
        entry.parent or "-",
        ", ".join(trainings) or "-",
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def details_lines(details: DatasetDetails, tokens: TokenCounts | None) -> Iterator[str]:
    manifest = details.manifest
    yield f"dataset {printable(manifest.name)} in {printable(details.folder)}"
    after = f", after {printable(manifest.parent)}" if manifest.parent else ""
    yield _labelled("cut", f"{shown_time(manifest.created_at)}{after}")
    yield _labelled("pairs", f"{manifest.pairs} of {counted(manifest.runs, 'run')}")
    yield _labelled("rules", _counts(manifest.rules))
    yield from _composition_lines(details.composition, manifest.pairs)
    if manifest.left_out or manifest.waited:
        yield _labelled("left out", _left_out(manifest))
    if tokens is not None:
        yield from _token_lines(tokens)
    yield _labelled("settings", _counts(msgspec.structs.asdict(manifest.settings)))
    yield from _origin_lines(manifest)
    yield _labelled("trainings", "" if details.trainings else "none in this data directory")
    yield from (f"  {training_line(training)}" for training in details.trainings)
    if details.forgotten:
        yield _labelled("forgotten runs", f"{len(details.forgotten)}, which stand in it still")
    for run in details.forgotten:
        yield f"  {marked_line(run)}"


def _counts(counts: Mapping[Any, object]) -> str:
    return ", ".join(f"{printable(name)} {_shown(value)}" for name, value in counts.items())


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _left_out(manifest: DatasetManifest) -> str:
    waiting = f"; {manifest.waiting} of them wait for the next dataset" if manifest.waiting else ""
    before = f"; {counted(manifest.waited, 'pair')} had waited for this one"
    left_out = _counts(manifest.left_out) or "none"
    return f"{left_out}{waiting}{before if manifest.waited else ''}"


def _composition_lines(composition: Composition, pairs: int) -> Iterator[str]:
    yield _labelled("garbled", f"{composition.garbled} ({_percent(composition.garbled, pairs)})")
    yield _labelled("exact duplicates", str(composition.exact_duplicates))
    yield _labelled("agents", _shares(composition.agents))
    yield _labelled("tasks", _shares(composition.tasks))
    yield _labelled("policies", _shares(composition.policies))
    yield _labelled("score gap", _quantiles(composition.score_gap))
    yield _labelled("prompt length", _quantiles(composition.prompt_length, "characters"))
    yield _labelled("chosen length", _quantiles(composition.chosen_length, "characters"))
    yield _labelled("rejected length", _quantiles(composition.rejected_length, "characters"))


def _shares(shares: Shares) -> str:
    rest = {"(others)": shares.others, "(not named)": shares.none}
    return _counts(shares.named | {name: number for name, number in rest.items() if number})


def _quantiles(found: Quantiles | None, unit: str = "") -> str:
    if found is None:
        return "no pair has one"
    return (
        f"{found.min:g} to {found.max:g} {unit}".rstrip()
        + f"; median {found.median:g}, 10 % below {found.p10:g}, 10 % above {found.p90:g}"
    )


def _token_lines(tokens: TokenCounts) -> Iterator[str]:
    yield _labelled("tokens", f"of {printable(tokens.tokenizer)}, without a chat template's own")
    yield _labelled("  prompt", _quantiles(tokens.prompt))
    yield _labelled("  chosen", _quantiles(tokens.chosen))
    yield _labelled("  rejected", _quantiles(tokens.rejected))
    yield _labelled(
        f"  above {tokens.max_length}",
        f"{counted(tokens.prompts_too_long, 'prompt')} alone, so the pair is dropped; with its "
        f"prompt the chosen side of {tokens.chosen_too_long}, the rejected side of "
        f"{tokens.rejected_too_long} of the others, so their ends are cut off",
    )
    if tokens.without_prompt:
        yield _labelled(
            "  without", f"a prompt {counted(tokens.without_prompt, 'pair')}, which are dropped too"
        )


def _origin_lines(manifest: DatasetManifest) -> Iterator[str]:
    yield _labelled("files", "")
    for name, entry in manifest.files.items():
        yield f"  {printable(name)}  {entry.rows} rows, {entry.bytes} bytes, SHA-256 {entry.sha256}"
    yield _labelled("topic", f"{manifest.source.topic} of cluster {manifest.source.cluster_id}")
    ranges = (
        f"{p}/{o.from_} to {p}/{o.to - 1}" for p, o in manifest.offsets.items() if o.from_ < o.to
    )
    yield _labelled("offsets", ", ".join(ranges))


def diff_lines(diff: DatasetDiff) -> Iterator[str]:
    a, b = printable(diff.a), printable(diff.b)
    changed = f", {diff.changed} of them with other texts" if diff.changed else ""
    yield f"pairs: {_sides(diff, a, b)}{changed}"
    yield from (f"  {rule}: {_sides(found, a, b)}" for rule, found in diff.rules.items())
    for name, (value_a, value_b) in diff.settings.items():
        yield f"setting {name}: {_shown(value_a)} in {a}, {_shown(value_b)} in {b}"
    if diff.ids is not None:
        for mark, ids in (("-", diff.ids.only_a), ("+", diff.ids.only_b), ("~", diff.ids.changed)):
            yield from (f"{mark} {printable(pair_id)}" for pair_id in ids)


def _sides(found: DatasetDiff | RuleDifference, a: str, b: str) -> str:
    return f"{found.only_a} only in {a}, {found.only_b} only in {b}, {found.both} in both"
