"""How pairs stand in other formats. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from trainer.composition import Composition
from trainer.datasets import DatasetManifest

Format = Literal["trl", "kto", "parquet", "hf"]

Row = Mapping[str, Any]

SIDES = ("prompt", "chosen", "rejected")


def preference_rows(row: Row) -> Iterator[Row]:
    """As TRL takes them, and nothing else."""
    yield {side: row[side] for side in SIDES}


def unpaired_rows(row: Row) -> Iterator[Row]:
    """Both sides by themselves, as TRL's KTOTrainer takes them: as many good ones as bad ones."""
    yield {"prompt": row["prompt"], "completion": row["chosen"], "label": True}
    yield {"prompt": row["prompt"], "completion": row["rejected"], "label": False}


def whole_rows(row: Row) -> Iterator[Row]:
    yield row


# The types of a row's columns in order, by the names that both Arrow and Hugging Face use. They
# are stated because a column that is null throughout says nothing of its own.
MESSAGES = "messages"
COLUMNS = {
    "pair_id": "string", "run_id": "string", "strategy_id": "string", "rule": "string",
    "prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES,
    "chosen_score": "float64", "rejected_score": "float64",
    "chosen_attempt": "int64", "rejected_attempt": "int64",
    "garbler": "string", "agent_id": "string", "task_id": "string", "policy_id": "string",
    "garbled_distance": "float64",
}  # fmt: skip

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))


def dataset_card(manifest: DatasetManifest, files: Mapping[str, str]) -> str:
    """The README.md of a Hugging Face dataset; `files` has the path of each split.

    It says nothing that agents wrote.
    """
    return f"{_header(manifest.pairs, files)}\n{_text(manifest)}"


def _header(pairs: int, files: Mapping[str, str]) -> str:
    size = next((name for below, name in _SIZES if pairs < below), "n>1M")
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for split, path in files.items():
        lines += [f"  - split: {split}", f"    path: {path}"]
    lines += ["dataset_info:", "  features:"]
    for name, kind in COLUMNS.items():
        lines += [f"  - name: {name}", *_feature(kind)]
    lines += ["size_categories:", f"- {size}", "tags:"]
    lines += [f"- {tag}" for tag in ("dpo", "preference", "trl", "pairstream")]
    return "\n".join([*lines, "---", ""])


def _feature(kind: str) -> list[str]:
    if kind != MESSAGES:
        return [f"    dtype: {kind}"]
    return [
        "    list:",
        *(f"    - name: {key}\n      dtype: string" for key in ("role", "content")),
    ]


def _text(manifest: DatasetManifest) -> str:
    rules = [f"- `{rule}`: {pairs}" for rule, pairs in manifest.rules.items()]
    return "\n".join(
        [
            f"# {manifest.name}",
            "",
            f"{manifest.pairs} preference pairs of {manifest.runs} agent runs, cut by pairstream on"
            f" {manifest.created_at:%Y-%m-%d}. `prompt`, `chosen` and `rejected` are chat messages;"
            " the split `test` was held out: no run stands on both sides.",
            "",
            *_garbled(manifest.composition, manifest.pairs),
            "Pairs by the rule that made them:",
            "",
            *rules,
            "",
            f"SHA-256 of the dataset: `{manifest.sha256}`.",
            "",
        ]
    )


def _garbled(composition: Composition | None, pairs: int) -> list[str]:
    if composition is None:
        return []
    return [
        f"In {composition.garbled} of the {pairs} pairs the rejected side was garbled on purpose "
        "(`garbler` is not null): it stands for no attempt of an agent.",
        "",
    ]
