"""Trains 4-bit LoRA adapters with DPO on one dataset. Runs alone: it imports nothing of ours.

Reads `train.jsonl`, `eval.jsonl` and `manifest.json` of the dataset; writes to the output folder
`adapter/`, `metrics.jsonl`, `checkpoints/` and, last, `result.json`. Works on Python 3.10 with
TRL 1.14.2 as in the image, on a GPU or a CPU.

Exit codes: 0 done, 2 wrong usage, 10 bad data or base model, 11 a GPU was asked for and there is
none, 12 the GPU's memory ran out, 13 the loss is not a number, 14 a check of the training failed,
143 stopped (a checkpoint is kept).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

BAD_DATA, NO_GPU, GPU_MEMORY, NOT_A_NUMBER, CHECK_FAILED, STOPPED = 10, 11, 12, 13, 14, 143

LN_2 = math.log(2)

# Templates emit the end of a message themselves: TRL appends none to chat messages.
FALLBACK_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}:\n{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)

# Accuracy 1 and a margin beyond this for so many logs: the pairs teach nothing any more.
SATURATED_MARGIN, SATURATED_LOGS = 5.0, 5

Row = dict[str, Any]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--dataset", type=Path, required=True, help="folder of a published dataset")
    add("--base-model", type=Path, required=True, help="folder of a transformers model")
    add("--base-model-name", help="written into the adapter (default: the folder's name)")
    add("--output", type=Path, required=True, help="folder for all that is written")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto")
    add("--quantization", choices=["nf4", "none"], default="nf4", help="of the base's weights")
    add(
        "--reference",
        choices=["adapter", "model"],
        default="adapter",
        help="the base with the adapter disabled, or a second loaded model",
    )
    add("--seed", type=int, default=0)
    add("--learning-rate", type=float, default=5e-5)
    add("--beta", type=float, default=0.1, help="DPO's strength of the reference")
    add("--sft-weight", type=float, default=0.0, help="of the chosen side's likelihood")
    add("--epochs", type=float, default=1.0)
    add("--max-steps", type=int, default=-1, help="stop after so many steps (-1: epochs)")
    add("--batch-size", type=int, default=1, help="pairs at once")
    add("--gradient-accumulation", type=int, default=8, help="batches in a step")
    add("--max-length", type=int, default=2048, help="tokens of prompt and response")
    add("--lora-rank", type=int, default=16)
    add("--lora-alpha", type=int, default=32)
    add(
        "--max-lost-share",
        type=float,
        default=0.5,
        help="refuse when more than this share of the pairs is too long",
    )
    return parser.parse_args(arguments)


class Refused(Exception):
    """The training cannot go on; `code` is the exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


# --- Data ----------------------------------------------------------------------------------------


def load_rows(dataset: Path) -> tuple[list[Row], list[Row], dict[str, str]]:
    """The pairs to train on, those held out, and the SHA-256 of each file."""
    try:
        files = json.loads((dataset / "manifest.json").read_bytes())["files"]
    except (OSError, ValueError, KeyError) as error:
        raise Refused(BAD_DATA, f"{dataset} has no manifest: publish it first") from error
    hashes = {}
    for name in ("train.jsonl", "eval.jsonl"):
        found = file_sha256(dataset / name)
        if found != files[name]["sha256"]:
            raise Refused(BAD_DATA, f"{dataset / name} is not what its manifest says (SHA-256)")
        hashes[name] = found
    train, held_out = (read_rows(dataset / name) for name in hashes)
    if not train:
        raise Refused(BAD_DATA, f"{dataset} has no pairs to train on")
    return train, held_out, hashes


def read_rows(path: Path) -> list[Row]:
    """Prompt, chosen and rejected of each line; what teaches nothing is left out."""
    rows = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["chosen"] != row["rejected"]:
                rows.append({key: row[key] for key in ("prompt", "chosen", "rejected")})
    return rows


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def without_special_tokens(rows: list[Row], tokens: list[str]) -> list[Row]:
    """Break up what a tokenizer would read as control tokens: agents' text is only text."""

    def clean(text: str) -> str:
        for token in tokens:
            text = text.replace(token, token[0] + " " + token[1:])
        return text

    return [
        {
            side: [{**message, "content": clean(message["content"])} for message in messages]
            for side, messages in row.items()
        }
        for row in rows
    ]


def fitting(rows: list[Row], tokenizer: Any, max_length: int) -> tuple[list[Row], int, int]:
    """Rows whose prompt fits, how many do not, and how many will lose the end of a response.

    TRL drops the former and cuts the latter without a word.
    """
    kept, truncated = [], 0
    for row in rows:
        prompt = count_tokens(tokenizer, row["prompt"], generation=True)
        if prompt >= max_length:
            continue
        longest = max(
            count_tokens(tokenizer, row["prompt"] + row[side]) for side in ("chosen", "rejected")
        )
        truncated += longest > max_length
        kept.append(row)
    return kept, len(rows) - len(kept), truncated


def count_tokens(tokenizer: Any, messages: list[Row], *, generation: bool = False) -> int:
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation)
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


# --- Model ---------------------------------------------------------------------------------------


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


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        tokenizer.chat_template = FALLBACK_TEMPLATE
    return tokenizer


def load_model(folder: Path, device: str, quantization: str) -> Any:
    """The base model in 4 bits (NF4, double quantised) or as it is."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    compute = torch.bfloat16 if device == "cuda" else torch.float32
    quantized = quantization == "nf4"
    model = AutoModelForCausalLM.from_pretrained(
        str(folder),
        dtype=compute,
        device_map={"": device},
        local_files_only=True,
        trust_remote_code=False,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute,
        )
        if quantized
        else None,
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


def adaptable_layers(model: Any) -> list[str]:
    """Last name parts of the linear layers, without the output embedding: PEFT's `all-linear`."""
    import torch
    from transformers.pytorch_utils import Conv1D

    output = model.get_output_embeddings()
    return sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not output
        }
    )


def count_parameters(model: Any) -> dict[str, int]:
    """`total` and `trainable` parameters; a 4-bit weight counts as what it stands for."""
    total = trainable = quantized = 0
    for parameter in model.parameters():
        count = parameter.numel()
        if parameter.__class__.__name__ == "Params4bit":
            state = parameter.quant_state
            count = math.prod(state.shape) if state is not None else count
            quantized += count
        total += count
        trainable += count if parameter.requires_grad else 0
    return {"total": total, "trainable": trainable, "quantized": quantized}


def train_in_full_precision(model: Any) -> None:
    """TRL casts the adapters of a quantised model to bfloat16, where a usual DPO step is mostly
    too small to change them.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


# --- Training ------------------------------------------------------------------------------------


def make_trainer(
    args: argparse.Namespace, device: str, train: list[Row], held_out: list[Row]
) -> Any:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import DPOConfig, DPOTrainer

    tokenizer = load_tokenizer(args.base_model)
    model = load_model(args.base_model, device, args.quantization)
    second = args.reference == "model"
    config = DPOConfig(
        output_dir=str(args.output / "checkpoints"),
        seed=args.seed,
        beta=args.beta,
        # Label smoothing changes nothing in "sigmoid", and "robust" has no lower bound on garbled
        # responses: neither is offered.
        loss_type=["sigmoid", "sft"] if args.sft_weight else ["sigmoid"],
        loss_weights=[1.0, args.sft_weight] if args.sft_weight else None,
        learning_rate=args.learning_rate,
        num_train_epochs=args.epochs,
        max_steps=args.max_steps,
        per_device_train_batch_size=args.batch_size,
        per_device_eval_batch_size=args.batch_size,
        gradient_accumulation_steps=args.gradient_accumulation,
        max_length=args.max_length,
        gradient_checkpointing=device == "cuda",
        bf16=device == "cuda",
        use_cpu=device == "cpu",
        logging_steps=1,
        logging_first_step=True,
        save_steps=50,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=device == "cuda",
    )
    trainer = DPOTrainer(
        model=model,
        ref_model=load_model(args.base_model, device, args.quantization) if second else None,
        args=config,
        train_dataset=Dataset.from_list(train),
        eval_dataset=Dataset.from_list(held_out) if held_out else None,
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=args.lora_rank,
            lora_alpha=args.lora_alpha,
            target_modules=adaptable_layers(model),
            task_type="CAUSAL_LM",
        ),
    )
    train_in_full_precision(trainer.model)
    trainer.remove_callback(PrinterCallback)  # the recorder prints what matters
    return trainer


def make_recorder(output: Path, stop: dict[str, bool]) -> Any:
    """A callback that writes `metrics.jsonl`, prints progress, and stops on SIGTERM or NaN."""
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.logs: list[dict[str, float]] = []

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            earlier = [log for log in state.log_history if log["step"] <= state.global_step]
            lines = "".join(compact(log) + "\n" for log in earlier)
            (output / "metrics.jsonl").write_text(lines)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            entry = {"step": state.global_step, "steps": state.max_steps, **(logs or {})}
            self.logs.append(entry)
            with (output / "metrics.jsonl").open("a") as file:
                file.write(compact(entry) + "\n")
            if "loss" in entry:
                print(
                    f"step {state.global_step}/{state.max_steps} loss {float(entry['loss']):.4f} "
                    f"margin {float(entry.get('rewards/margins', 0)):.4f}"
                )
                if not math.isfinite(float(entry["loss"])):
                    raise Refused(NOT_A_NUMBER, "the loss is not a number: lower --learning-rate")

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            if stop["now"]:
                control.should_save = control.should_training_stop = True
            return control

    return Recorder()


def check_first_step(logs: list[dict[str, float]], *, pure: bool) -> tuple[float, float]:
    """Before the first update policy and reference are the same: margin 0 and loss ln 2."""
    first = next(log for log in logs if "loss" in log)
    loss, margin = float(first["loss"]), float(first["rewards/margins"])
    if abs(margin) > 0.01 or (pure and abs(loss - LN_2) > 0.01 * LN_2):
        raise Refused(
            CHECK_FAILED,
            f"the first margin is {margin:.4f} and the loss {loss:.4f}, not 0 and ln 2: "
            "policy and reference differ before training",
        )
    return loss, margin


def is_saturated(logs: list[dict[str, float]]) -> bool:
    steps = [log for log in logs if "loss" in log][-SATURATED_LOGS:]
    return len(steps) == SATURATED_LOGS and all(
        float(log["rewards/accuracies"]) == 1.0 and float(log["rewards/margins"]) > SATURATED_MARGIN
        for log in steps
    )


# --- Files ---------------------------------------------------------------------------------------


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=float)


def save_adapter(trainer: Any, output: Path, base_name: str) -> None:
    """Adapter, tokenizer and chat template; no pickle, no container paths, readable by all."""
    adapter = output / "adapter"
    trainer.model.save_pretrained(str(adapter), safe_serialization=True)
    trainer.processing_class.save_pretrained(str(adapter))
    config_file = adapter / "adapter_config.json"
    config = json.loads(config_file.read_text())
    config["base_model_name_or_path"] = base_name
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (adapter / "README.md").unlink(missing_ok=True)  # a form that nobody filled in
    for path in adapter.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def write_result(output: Path, result: dict[str, Any]) -> None:
    temporary = output / "result.json.tmp"
    with temporary.open("w") as file:
        json.dump(result, file, indent=2, sort_keys=True, default=str)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(output / "result.json")


def versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = ("torch", "trl", "transformers", "peft", "bitsandbytes", "datasets", "accelerate")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


# --- All of it -----------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> None:
    started = time.monotonic()
    args.output.mkdir(parents=True, exist_ok=True)
    train, held_out, hashes = load_rows(args.dataset)
    if not (args.base_model / "config.json").is_file():
        raise Refused(BAD_DATA, f"{args.base_model} is no transformers model: no config.json")

    from transformers import set_seed
    from transformers.trainer_utils import get_last_checkpoint

    # Before anything is made: TRL on Python 3.10 makes the adapter before it seeds.
    set_seed(args.seed)
    device = pick_device(args.device)
    tokenizer = load_tokenizer(args.base_model)
    train, dropped, truncated, held_out = prepare(args, tokenizer, train, held_out)
    print(f"training on {device}: {len(train)} pairs, {len(held_out)} held out")

    stop = {"now": False}
    signal.signal(signal.SIGTERM, lambda *_: stop.update(now=True))
    trainer = make_trainer(args, device, train, held_out)
    recorder = make_recorder(args.output, stop)
    trainer.add_callback(recorder)
    checkpoints = args.output / "checkpoints"
    checkpoint = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    trainer.train(resume_from_checkpoint=checkpoint)
    if stop["now"]:
        raise Refused(STOPPED, "stopped; a checkpoint is kept")
    logs = [json.loads(line) for line in (args.output / "metrics.jsonl").open()]
    loss, margin = check_first_step(logs, pure=not args.sft_weight)
    evaluation = trainer.evaluate() if held_out else None
    name = args.base_model_name or args.base_model.name
    save_adapter(trainer, args.output, name)
    steps = [log for log in recorder.logs if "loss" in log]
    write_result(
        args.output,
        {
            "dataset_sha256": hashes,
            "base_model": name,
            "device": device,
            "arguments": {key: str(value) for key, value in vars(args).items()},
            "versions": versions(),
            "pairs": len(train),
            "held_out": len(held_out),
            "dropped": dropped,
            "truncated": truncated,
            "parameters": count_parameters(trainer.model),
            "adapted_layers": sorted(trainer.model.peft_config["default"].target_modules),
            "first_loss": loss,
            "first_margin": margin,
            "last": steps[-1] if steps else None,
            "evaluation": evaluation,
            "saturated": is_saturated(recorder.logs),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "seconds": round(time.monotonic() - started, 1),
        },
    )
    print("done")


def prepare(
    args: argparse.Namespace, tokenizer: Any, train: list[Row], held_out: list[Row]
) -> tuple[list[Row], int, int, list[Row]]:
    """Rows that fit, with control tokens broken up; refuses when too much would be lost."""
    special = sorted(tokenizer.all_special_tokens, key=len, reverse=True)
    before = len(train)
    train, dropped, truncated = fitting(
        without_special_tokens(train, special), tokenizer, args.max_length
    )
    if not train or (dropped + truncated) / before > args.max_lost_share:
        raise Refused(
            BAD_DATA,
            f"{dropped} of {before} prompts do not fit into {args.max_length} tokens and "
            f"{truncated} responses would be cut: raise --max-length or --max-lost-share",
        )
    held_out, _, _ = fitting(without_special_tokens(held_out, special), tokenizer, args.max_length)
    return train, dropped, truncated, held_out


def main() -> NoReturn:
    args = parse_arguments()
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ[name] = "1"
    try:
        run(args)
    except Refused as refused:
        sys.stderr.write(f"train_dpo: {refused}\n")
        sys.exit(refused.code)
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":
            sys.stderr.write("train_dpo: the GPU's memory ran out: lower --max-length\n")
            sys.exit(GPU_MEMORY)
        raise
    sys.exit(0)


if __name__ == "__main__":
    main()
