"""What a cut is told by its settings, and the facts of a pair that it judges by. Pure."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import orjson

from schemas.settings import DatasetSettings

HeldOutBy = Literal["run", "task"]
Duplicates = Literal["keep", "exact", "near"]


class CutSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Those of the settings that decide the bytes of a dataset; its manifest keeps them.

    Defaults are what a manifest of an older trainer means that does not name them.
    """

    eval_fraction: float
    held_out_by: HeldOutBy = "run"
    duplicates: Duplicates = "keep"
    min_score_gap: float = 0.0
    max_garbled_share: float = 1.0
    max_agent_share: float = 1.0
    max_task_share: float = 1.0

    @classmethod
    def of(cls, settings: DatasetSettings) -> "CutSettings":
        return msgspec.convert(settings, cls, from_attributes=True)


def is_held_out(key: str, fraction: float) -> bool:
    """Decide by a hash, so that a run, or a task, never stands on both sides."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8]) < fraction * 2**64


def held_out_key(row: Mapping[str, Any], by: HeldOutBy) -> str:
    """What the hash is taken of; a pair that names no task goes with its run."""
    task_id: str | None = row["task_id"] if by == "task" else None
    run_id: str = row["run_id"]
    return run_id if task_id is None else task_id


def content_digest(row: Mapping[str, Any]) -> bytes:
    """The same for pairs whose prompt, chosen and rejected are the same."""
    texts = orjson.dumps([row["prompt"], row["chosen"], row["rejected"]])
    return hashlib.blake2b(texts, digest_size=16).digest()


def score_gap(row: Mapping[str, Any]) -> float | None:
    """Chosen over rejected; null where a side has no score, or the gap is no number any more."""
    chosen, rejected = row["chosen_score"], row["rejected_score"]
    if chosen is None or rejected is None:
        return None
    gap: float = chosen - rejected
    return gap if math.isfinite(gap) else None


def is_garbled(row: Mapping[str, Any]) -> bool:
    return row["garbler"] is not None
