"""The base model, its tokenizer and its layers."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .refusals import BAD_DATA, NO_GPU, Refused

# Templates emit the end of a message themselves: TRL appends none to chat messages.
FALLBACK_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ':\\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\\n' }}{% endif %}"
)

# bitsandbytes' word, on CPUs with AVX512-BF16, on a kernel that it would fetch from a hub. It is
# for packed weights alone (see `keep_weights_differentiable`), but reads as if something failed.
KERNEL_LOGGER = "bitsandbytes.backends.cpu.ops"
NO_KERNEL = "Failed to load CPU gemm_4bit_forward"


def pass_over_unused_kernel() -> None:
    """Leave that word out, before it is said: when bitsandbytes is imported."""
    logging.getLogger(KERNEL_LOGGER).addFilter(_tells_other_things)


def _tells_other_things(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(NO_KERNEL)


def pick_device(wanted: str) -> str:
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise Refused(
            NO_GPU,
            "no GPU is visible: install the NVIDIA driver and container toolkit, or train with "
            "--device cpu",
        )
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


@contextlib.contextmanager
def refusing_bad_model(folder: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise Refused(
            BAD_DATA, f"{folder} does not load as a causal language model: {error}"
        ) from error


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    if not (folder / "config.json").is_file():
        raise Refused(BAD_DATA, f"{folder} is no transformers model: no config.json")
    with refusing_bad_model(folder):
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    refuse_unusable(tokenizer, folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        begin = "{{ bos_token }}" if begins_texts(tokenizer) else ""
        tokenizer.chat_template = begin + FALLBACK_TEMPLATE
    return tokenizer


def refuse_unusable(tokenizer: Any, folder: Path) -> None:
    """Raises: Refused."""
    template = tokenizer.chat_template
    if isinstance(template, dict) and "default" not in template:
        raise Refused(
            BAD_DATA,
            f"{folder} has chat templates named {', '.join(sorted(template))}, and none named "
            "default: save the one to train with as chat_template.jinja",
        )
    lacking = "chat template" if template is None else "pad_token"
    if tokenizer.eos_token is None and (template is None or tokenizer.pad_token is None):
        raise Refused(
            BAD_DATA,
            f"the tokenizer of {folder} has no eos_token and no {lacking}: name the token that "
            "ends a text as eos_token in tokenizer_config.json",
        )


def begins_texts(tokenizer: Any) -> bool:
    """Whether it puts its own first token before a text: the model has never seen one without."""
    first = tokenizer.bos_token_id
    return first is not None and tokenizer("a")["input_ids"][:1] == [first]


def longest_sequence(folder: Path, wanted: int) -> int:
    """What is wanted, or the model's context where that is shorter."""
    context = getattr(text_config(folder), "max_position_embeddings", None)
    return min(wanted, context or wanted)


def refuse_unknown_tokens(folder: Path, tokenizer: Any, highest: int) -> None:
    """Where the model has no embedding for the highest id that will be used. Raises: Refused."""
    known = getattr(text_config(folder), "vocab_size", None)
    if known is not None and highest >= known:
        raise Refused(
            BAD_DATA,
            f"{folder} does not fit its tokenizer: the model knows {known} tokens, and "
            f"{tokenizer.convert_ids_to_tokens(highest)!r} is number {highest}: take the tokenizer "
            "that it was made with",
        )


def text_config(folder: Path) -> Any:
    from transformers import AutoConfig

    with refusing_bad_model(folder):
        config = AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    return config.get_text_config()


def has_bfloat16(device: str) -> bool:
    """Whether the hardware computes in it, and does not only imitate it."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def load_model(folder: Path, device: str, quantization: str, weights: str = "float32") -> Any:
    """The base model in 4 bits (NF4, double quantised) or in `weights`."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    compute = torch.bfloat16 if weights == "bfloat16" else torch.float32
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )
    with refusing_bad_model(folder):
        model = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=compute,
            device_map={"": device},
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,  # weights in a pickle could run code
            quantization_config=four_bits if quantization == "nf4" else None,
        )
    keep_weights_differentiable(model)
    return model


def keep_weights_differentiable(model: Any) -> None:
    """Forbid bitsandbytes the packing that it does on CPUs with AVX512-BF16 at the first forward
    pass in evaluation: the packed kernel passes no gradient on.
    """
    import bitsandbytes

    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


def linear_layers(model: Any) -> list[str]:
    """Their names, without the output embedding."""
    import torch
    from transformers.pytorch_utils import Conv1D

    output = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not output
    ]


def adaptable_layers(model: Any) -> list[str]:
    """Last name parts of the linear layers: PEFT's `all-linear`."""
    return sorted({name.rpartition(".")[2] for name in linear_layers(model)})


def count_parameters(model: Any) -> dict[str, int]:
    """`total`, `trainable` and `quantized`; a 4-bit weight counts as what it stands for."""
    from bitsandbytes.nn import Params4bit

    total = trainable = quantized = 0
    for parameter in model.parameters():
        count = parameter.numel()
        if isinstance(parameter, Params4bit):
            count = math.prod(parameter.quant_state.shape)
            quantized += count
        total += count
        trainable += count if parameter.requires_grad else 0
    return {"total": total, "trainable": trainable, "quantized": quantized}
