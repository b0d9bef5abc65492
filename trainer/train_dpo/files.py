"""What a training leaves in its output folder."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Log = dict[str, float]


def finite(figures: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no word for what is no number but null."""
    return {
        key: finite(value)
        if isinstance(value, Mapping)
        else (value if math.isfinite(value) else None)
        for key, value in figures.items()
    }


def metrics_line(log: Log, steps: int) -> str:
    line = {"step": log["step"], "steps": steps, **finite(log)}
    return json.dumps(line, separators=(",", ":")) + "\n"


def write_metrics(output: Path, state: Any) -> None:
    """Only what the state remembers: what was logged after its checkpoint comes again."""
    lines = (metrics_line(log, state.max_steps) for log in state.log_history)
    (output / "metrics.jsonl").write_text("".join(lines))


def save_adapter(trainer: Any, folder: Path, base_name: str) -> None:
    """Adapter, tokenizer and chat template; no pickle, no container paths, readable by all."""
    config = trainer.model.peft_config["default"]
    config.base_model_name_or_path = base_name
    config.target_modules = sorted(config.target_modules)  # a set is written in any order
    # Embeddings are never trained: PEFT need not look for the base by its name to find that out.
    trainer.model.save_pretrained(
        str(folder), selected_adapters=["default"], save_embedding_layers=False
    )
    for key in ("is_local", "local_files_only"):  # how it was loaded, not what it is
        trainer.processing_class.init_kwargs.pop(key, None)
    trainer.processing_class.save_pretrained(str(folder))
    (folder / "README.md").unlink()  # a form that nobody filled in
    make_readable(folder)


def make_readable(folder: Path) -> None:
    """For other users, who archive or serve what is in it."""
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def write_result(output: Path, result: dict[str, Any]) -> None:
    """It comes last and survives a loss of power with all that it stands for."""
    for folder in (output / "adapter", output / "plots"):
        for path in (*folder.rglob("*"), folder) if folder.is_dir() else ():
            sync(path)
    sync(output / "metrics.jsonl")
    temporary = output / "result.json.tmp"
    with temporary.open("w") as file:
        json.dump(result, file, indent=2, sort_keys=True, default=str, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(output / "result.json")
    sync(output)


def sync(path: Path) -> None:
    """Of a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
