"""Trainings that begin with the adapter of an earlier one."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .model import refusing_bad_model
from .refusals import BAD_DATA, Refused

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"

# What TRL calls its copy of the adapter that is gone on from.
REFERENCE = "ref"

# What scales an adapter otherwise than by its alpha and rank, or trains more than layers.
UNKNOWN_FORMS = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save")


@contextlib.contextmanager
def refusing_bad_adapter(folder: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    if not (folder / WEIGHTS).is_file():  # weights in a pickle could run code
        raise Refused(BAD_DATA, f"{folder} is no adapter: no {WEIGHTS}")
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise Refused(BAD_DATA, f"{folder} is no adapter of this base: {error}") from error


def adapter_to_come(rank: int, init: Path | None, merged: Path | None) -> dict[str, Any]:
    """What of the configuration of the adapter that a training will leave is known beforehand.

    Raises: Refused, also where the one to be merged could not be joined in the end.
    """
    if init is not None:
        return read_config(init)
    if merged is None:
        return {"r": rank}
    previous = read_config(merged)
    with refusing_bad_adapter(merged):
        refuse_unknown_forms([previous])
        return {"r": previous["r"] + rank}


def read_config(adapter: Path) -> dict[str, Any]:
    """Raises: Refused."""
    with refusing_bad_adapter(adapter):
        config: dict[str, Any] = json.loads((adapter / CONFIG).read_bytes())
        if not isinstance(config["r"], int):
            raise ValueError("its rank is no number")
    return config


def load_adapter(model: Any, folder: Path) -> Any:
    """The model with the adapter, to be trained on. TRL keeps a copy of it as the reference."""
    from peft import PeftModel

    with refusing_bad_adapter(folder):
        return PeftModel.from_pretrained(model, str(folder), is_trainable=True)


def merge_into_base(base: Path, adapter: Path, merged: Path) -> Path:
    """A model of its own in `merged`: merged in full precision, saved in the base's. Made once.

    Merging into quantised weights would round most of the adapter away.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    if merged.is_dir():
        return merged
    with refusing_bad_model(base):
        model = AutoModelForCausalLM.from_pretrained(
            str(base),
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
        saved = json.loads((base / "config.json").read_bytes())
    with refusing_bad_adapter(adapter):
        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    kind = saved.get("dtype") or saved.get("torch_dtype") or "float32"
    temporary = merged.with_name(f"{merged.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.to(getattr(torch, kind)).save_pretrained(str(temporary))
    temporary.rename(merged)
    return merged


def join(previous: Path, fresh: Path) -> None:
    """Make `fresh`, trained on a base with `previous` merged into it, one that does both at once
    on the plain base: its rank is that of both together.
    """
    from safetensors.torch import load_file, save_file

    with refusing_bad_adapter(previous):
        parts = [
            (load_file(folder / WEIGHTS), json.loads((folder / CONFIG).read_bytes()))
            for folder in (previous, fresh)
        ]
        joined = joined_weights(parts)
    config = parts[1][1]
    config["r"] = config["lora_alpha"] = sum(each["r"] for _, each in parts)
    save_file(joined, fresh / WEIGHTS, metadata={"format": "pt"})
    (fresh / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def refuse_unknown_forms(configs: list[dict[str, Any]]) -> None:
    """Raises: ValueError."""
    unknown = {form for config in configs for form in UNKNOWN_FORMS if config.get(form)}
    if unknown:
        raise ValueError(f"it adapts in another way ({', '.join(sorted(unknown))})")


def joined_weights(parts: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Side by side, each with its own scale in B. Raises: ValueError."""
    import torch

    (first, _), (second, _) = parts
    refuse_unknown_forms([config for _, config in parts])
    if first.keys() != second.keys():
        raise ValueError("it adapts other layers")
    scales = [config["lora_alpha"] / config["r"] for _, config in parts]
    joined = {}
    for name in first:
        each = [weights[name].float() for weights, _ in parts]
        if ".lora_A." in name:
            joined[name] = torch.cat(each, dim=0)
        else:
            scaled = [scale * part for scale, part in zip(scales, each, strict=True)]
            joined[name] = torch.cat(scaled, dim=1)
    return joined
