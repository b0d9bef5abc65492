"""Trainings that begin with the adapter of an earlier one."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .model import linear_layers, refusing_bad_model
from .refusals import BAD_DATA, Refused

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"

GENERATION = "generation_config.json"
LORA = re.compile(r"\.lora_[AB]\.")

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
        model = PeftModel.from_pretrained(model, str(folder), is_trainable=True)
        refuse_other_tensors(folder, layers_adapted(model))
    return model


def layers_adapted(model: Any) -> set[str]:
    """Those that the configuration of its adapter says, whatever was loaded."""
    from peft.tuners.lora import LoraLayer

    layers = model.get_base_model().named_modules()
    return {
        name
        for name, module in layers
        if isinstance(module, LoraLayer) and "default" in module.lora_A
    }


def refuse_other_tensors(adapter: Path, layers: Iterable[str]) -> None:
    """PEFT begins with chance where a tensor is missing, and leaves out what is too much.

    Raises: ValueError.
    """
    from safetensors import safe_open

    wanted = {f"base_model.model.{layer}.lora_{side}.weight" for layer in layers for side in "AB"}
    with safe_open(adapter / WEIGHTS, "pt") as file:
        found = {name for name in file.keys() if LORA.search(name)}  # noqa: SIM118 - no dict
    if found != wanted:
        raise ValueError(
            f"it adapts other layers ({len(wanted - found)} tensors are missing, "
            f"{len(found - wanted)} are too many)"
        )


def refuse_what_cannot_be_joined(adapter: Path, model: Any) -> None:
    """Before the training: `join` needs the layers that are trained now. Raises: Refused."""
    with refusing_bad_adapter(adapter):
        refuse_other_tensors(adapter, linear_layers(model))


def merge_into_base(base: Path, adapter: Path, merged: Path) -> Path:
    """A model of its own in `merged`: merged in full precision, saved in the base's. Made once.

    Merging into quantised weights would round most of the adapter away. Raises: Refused, there too.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, GenerationConfig

    if merged.is_dir():
        return merged
    refuse_quantised(base)
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
        adapted = PeftModel.from_pretrained(model, str(adapter))
        refuse_other_tensors(adapter, layers_adapted(adapted))
        model = adapted.merge_and_unload()
    kind = saved.get("dtype") or saved.get("torch_dtype") or "float32"
    temporary = merged.with_name(f"{merged.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.generation_config = GenerationConfig()  # many a base's own is refused where it is saved
    model.to(getattr(torch, kind)).save_pretrained(str(temporary))
    (temporary / GENERATION).unlink()
    if (base / GENERATION).is_file():
        shutil.copyfile(base / GENERATION, temporary / GENERATION)
    temporary.rename(merged)
    return merged


def refuse_quantised(base: Path) -> None:
    try:
        config = json.loads((base / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise Refused(BAD_DATA, f"{base} is no transformers model: {error}") from error
    if config.get("quantization_config"):
        raise Refused(
            BAD_DATA, f"{base} is quantised: name the folder of the model that it was made from"
        )


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
