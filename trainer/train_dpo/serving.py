"""Whether an adapter loads where it is to be served.

Source: vLLM's `PEFTHelper.validate_legal` and `LoRAConfig`, as of 2026.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# What vLLM's --max-lora-rank may be; it takes adapters of that rank and below.
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)

CONFIG = "adapter_config.json"


def vllm_max_rank(rank: int) -> int | None:
    """The least of its ranks that takes the adapter; None where none does."""
    return next((most for most in VLLM_RANKS if most >= rank), None)


def vllm_refusals(config: dict[str, Any]) -> list[str]:
    """Why vLLM would not load an adapter of this configuration; empty where it would."""
    reasons = []
    if vllm_max_rank(config["r"]) is None:
        reasons.append(f"its rank is {config['r']}, and {VLLM_RANKS[-1]} is the most")
    if config.get("use_dora"):
        reasons.append("it is a DoRA")
    if config.get("modules_to_save"):
        reasons.append("it brings whole layers along (modules_to_save)")
    if config.get("bias", "none") != "none":
        reasons.append("it trains biases")
    return reasons


def tell_refusals(config: dict[str, Any]) -> None:
    """Before the training, which may take hours; it goes on, for others may load it."""
    for reason in vllm_refusals(config):
        print(f"warning: vLLM will not load this adapter: {reason}")


def serving_of(adapter: Path) -> dict[str, Any]:
    """For the result."""
    config = json.loads((adapter / CONFIG).read_bytes())
    return {
        "rank": config["r"],
        "vllm_max_lora_rank": vllm_max_rank(config["r"]),
        "vllm_refuses": vllm_refusals(config),
    }
