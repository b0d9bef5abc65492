"""The model card: the whole history of a model, for those who find it without us. Pure but for
`write_card`.
"""

import json
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from schemas.crash_points import crash_point
from trainer.datasets import DatasetManifest, file_sha256
from trainer.gate import FIGURES, measured_of
from trainer.layout import write_durably
from trainer.training_manifest import CARD, PLOTS, TrainingManifest

PICTURE = f"{PLOTS}/training.svg"

USE = """\
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained({base})
model = PeftModel.from_pretrained(base, "adapter")
tokenizer = AutoTokenizer.from_pretrained("adapter")
```
"""

# By the kind of the dataset.
TRAINED = {"pairs": "DPO on preference pairs", "kto": "KTO on good and bad responses"}

UNREADABLE = "What was measured cannot be read, so it counts as if nothing was measured.\n"

ACCURACY = ("accuracy",)
MEASURED = (
    ("preference accuracy", ACCURACY),
    ("margin of summed log-probabilities", ("margin",)),
    ("log-probability per token of the chosen side", ("chosen_logps",)),
    ("tokens in a response of its own", ("generations", "mean_tokens")),
    ("share of repeated runs of 4 tokens", ("generations", "repetition")),
    ("share of responses with control tokens", ("generations", "special_tokens")),
    ("share of empty responses", ("generations", "empty")),
)


def write_card(
    folder: Path, manifest: TrainingManifest, dataset: DatasetManifest
) -> TrainingManifest:
    """Write it beside the model; returns the manifest that knows it too."""
    write_durably(folder / CARD, model_card(manifest, dataset).encode())
    crash_point("training.card")
    files = {**manifest.files, CARD: file_sha256(folder / CARD)}
    return msgspec.structs.replace(manifest, files=dict(sorted(files.items())))


def model_card(manifest: TrainingManifest, dataset: DatasetManifest) -> str:
    figures = manifest.figures or {}
    base = figures.get("base_model", manifest.base_model)
    parts = [
        _front_matter(base, "dpo" if dataset.kind == "pairs" else dataset.kind),
        f"# {manifest.training_id}\n",
        f"A LoRA adapter for {_code(base)}, trained by {TRAINED[dataset.kind]} from the runs of "
        "live agents.\n",
        "## Data\n",
        _table(["what", "value"], _data(manifest, dataset, figures)),
        "## Before and after\n",
        _before_and_after(figures.get(FIGURES)),
        f"![loss, margin, accuracy and log-probabilities by step]({PICTURE})\n"
        if PICTURE in manifest.files
        else "",
        "## Recipe\n",
        _table(["setting", "value"], _sorted(figures.get("arguments"))),
        "## Made with\n",
        _table(["what", "value"], _made_with(manifest, figures)),
        "## Use\n",
        USE.format(base=json.dumps(base)),
        _serving(figures.get("serving")),
    ]
    return "\n".join(part for part in parts if part)


class _Serving(Struct, frozen=True):
    vllm_refuses: list[str]
    vllm_max_lora_rank: int | None


def _serving(told: object) -> str:
    """Nothing where its training did not tell, or in another form."""
    try:
        serving = msgspec.convert(told, _Serving)
    except msgspec.ValidationError:
        return ""
    if serving.vllm_refuses:
        return f"vLLM does not load it: {'; '.join(serving.vllm_refuses)}. Merge it first.\n"
    return (
        f"With vLLM: `--enable-lora --max-lora-rank {serving.vllm_max_lora_rank}` and "
        "`--lora-modules NAME=adapter`.\n"
    )


def _front_matter(base: object, method: str) -> str:
    return (
        f"---\nbase_model: {json.dumps(base)}\nlibrary_name: peft\n"
        f"pipeline_tag: text-generation\ntags:\n- {method}\n- lora\n- pairstream\n---\n"
    )


def _data(
    manifest: TrainingManifest, dataset: DatasetManifest, figures: Mapping[str, object]
) -> list[tuple[str, object]]:
    offsets = (f"{place}: {each.from_} to {each.to}" for place, each in dataset.offsets.items())
    counts = ("pairs", "held_out", "identical", "dropped", "truncated")
    return [
        ("dataset", dataset.name),
        ("its parent", dataset.parent),
        *((f"SHA-256 of {name}", digest) for name, digest in manifest.dataset_sha256.items()),
        ("runs", dataset.runs),
        (
            "pairs by rule" if dataset.kind == "pairs" else "responses by kind",
            ", ".join(f"{rule}: {n}" for rule, n in sorted(dataset.rules.items())),
        ),
        *_sorted(figures.get("labels")),
        ("topic", dataset.source.topic),
        ("offsets", ", ".join(offsets)),
        *((name, figures[name]) for name in counts if name in figures),
    ]


def _before_and_after(gate: object) -> str:
    """By what the gate can read: the training may have left anything."""
    if gate is None:
        return "No pairs were held out: nothing was measured.\n"
    try:
        measured = measured_of(gate)
    except msgspec.ValidationError:
        return UNREADABLE
    if not measured.pairs:
        what = "No good or no bad responses" if measured.unpaired else "No pairs"
        return f"{what} were held out: nothing was measured.\n"
    lines = [
        (name, _at(measured.base, path), _at(measured.candidate, path))
        for name, path in MEASURED
        if not (measured.unpaired and path == ACCURACY)
    ]
    what = "responses of either kind at least" if measured.unpaired else "pairs"
    return f"On {measured.pairs} {what} that were held out.\n\n" + _table(
        ["figure", "before", "after"], lines
    )


def _at(figures: object, path: tuple[str, ...]) -> str | None:
    """None where it was not measured, or is no number."""
    for key in path:
        figures = getattr(figures, key, None)
    return None if figures is None else f"{figures:.4g}"


def _sorted(told: object) -> list[tuple[str, object]]:
    """Nothing where its training did not tell, or in another form."""
    return sorted(told.items(), key=itemgetter(0)) if isinstance(told, dict) else []


def _made_with(
    manifest: TrainingManifest, figures: Mapping[str, object]
) -> list[tuple[str, object]]:
    previous = manifest.previous
    return [
        ("gate", manifest.gate.word if manifest.gate else "none"),
        ("previous round", f"{previous.training_id} ({previous.how})" if previous else "none"),
        ("started", manifest.started_at.isoformat(timespec="seconds")),
        ("finished", manifest.finished_at.isoformat(timespec="seconds")),
        ("pairstream", manifest.made_by.told if manifest.made_by else None),
        ("launcher", manifest.launcher),
        ("image", manifest.image),
        ("image tag", manifest.image_tag),
        ("device", figures.get("device")),
        ("precision", figures.get("precision")),
        *_sorted(figures.get("versions")),
    ]


def _table(header: list[str], lines: list[Any]) -> str:
    rows = [header, ["---"] * len(header), *([line[0], *map(_code, line[1:])] for line in lines)]
    return "".join(f"| {' | '.join(map(str, row))} |\n" for row in rows)


def _code(value: object) -> str:
    """As code, in one cell, whatever a name holds."""
    text = "none" if value is None else str(value)
    return "`" + text.replace("`", "'").replace("|", "/").replace("\n", " ") + "`"
