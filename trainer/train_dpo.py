"""Trains 4-bit LoRA adapters with DPO on one dataset. Runs alone: it imports nothing of ours.

Reads `train.jsonl`, `eval.jsonl` and `manifest.json` of the dataset; writes to the output folder
`adapter/`, `metrics.jsonl`, `checkpoints/` and, last, `result.json`. Started again with the same
output, it goes on from the last checkpoint, to the same end. Works on Python 3.10 with TRL 1.14.2
as in the image, on a GPU or a CPU, without a network.

Exit codes: 0 done, 2 wrong usage, 10 bad data or base model, 11 a GPU was asked for and there is
none, 12 the GPU's memory ran out, 13 the loss is not a number, 14 a check of the training failed,
143 stopped (a checkpoint is kept).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import platform
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

BAD_DATA, NO_GPU, GPU_MEMORY, NOT_A_NUMBER, CHECK_FAILED, STOPPED = 10, 11, 12, 13, 14, 143

TRAIN, EVAL = "train.jsonl", "eval.jsonl"
SIDES = ("prompt", "chosen", "rejected")

# Templates emit the end of a message themselves: TRL appends none to chat messages.
FALLBACK_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ':\\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\\n' }}{% endif %}"
)

LN_2 = math.log(2)

NEVER = "(?!)"  # a pattern that matches nothing

# Accuracy 1 and a margin beyond this for so many logs: the pairs teach nothing any more.
SATURATED_MARGIN, SATURATED_LOGS = 5.0, 5

Row = dict[str, list[dict[str, str]]]
Log = dict[str, float]


class Refused(Exception):
    """The training cannot go on; `code` is the exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


# --- The way through -----------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> NoReturn:
    args = parse_arguments(arguments)
    prepare_process()
    try:
        run(args)
    except Refused as refused:
        sys.stderr.write(f"train_dpo: {refused}\n")
        sys.exit(refused.code)
    except Exception as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        sys.stderr.write("train_dpo: the GPU's memory ran out: lower --max-length\n")
        sys.exit(GPU_MEMORY)
    sys.exit(0)


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
    add("--learning-rate", type=positive(float), default=5e-5)
    add("--beta", type=positive(float), default=0.1, help="DPO's strength of the reference")
    add("--sft-weight", type=float, default=0.0, help="of the chosen side's likelihood")
    add("--epochs", type=positive(float), default=1.0)
    add("--max-steps", type=int, default=-1, help="stop after so many steps (-1: epochs)")
    add("--batch-size", type=positive(int), default=1, help="pairs at once")
    add("--gradient-accumulation", type=positive(int), default=8, help="batches in a step")
    add("--max-length", type=positive(int), default=2048, help="tokens of prompt and response")
    add("--lora-rank", type=positive(int), default=16)
    add("--lora-alpha", type=positive(int), default=32)
    add(
        "--max-lost-share",
        type=float,
        default=0.5,
        help="refuse when more than this share of the pairs is too long",
    )
    return parser.parse_args(arguments)


def positive(convert: Callable[[str], float]) -> Callable[[str], float]:
    def number_above_0(text: str) -> float:  # named in argparse's complaint
        value = convert(text)
        if not value > 0:
            raise ValueError(text)
        return value

    return number_above_0


def prepare_process() -> None:
    """What must stand before the libraries are imported, which read it then."""
    for name in (
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HF_HUB_DISABLE_TELEMETRY",
        "HF_HUB_DISABLE_PROGRESS_BARS",
        "HF_DATASETS_DISABLE_PROGRESS_BARS",
    ):
        os.environ[name] = "1"
    # TRL would spread over all GPUs in sight, in a way that 4-bit layers do not survive.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0]
    os.umask(0o022)  # whoever archives the output may be another user


def run(args: argparse.Namespace) -> None:
    started = time.monotonic()
    stop = Stop()
    args.output.mkdir(parents=True, exist_ok=True)
    train_rows, held_out_rows, hashes = read_dataset(args.dataset)
    device = pick_device(args.device)
    tokenizer = load_tokenizer(args.base_model)
    max_length = longest_sequence(args.base_model, args.max_length)
    train = prepare(train_rows, tokenizer, max_length)
    held_out = prepare(held_out_rows, tokenizer, max_length)
    refuse_great_loss(train, max_length, args.max_lost_share)
    print(f"training on {device}: {len(train.rows)} pairs, {len(held_out.rows)} held out")

    config = training_config(args, device, max_length)
    trainer = make_trainer(args, config, device, tokenizer, train.rows, held_out.rows)
    train_to_the_end(trainer, args.output, stop)
    evaluation = finite(trainer.evaluate()) if held_out.rows else None
    name = args.base_model_name or args.base_model.name
    save_adapter(trainer, args.output / "adapter", name)
    write_result(
        args.output,
        {
            "dataset_sha256": hashes,
            "base_model": name,
            "device": device,
            "arguments": vars(args),
            "versions": versions(),
            "pairs": len(train.rows),
            "identical": train.identical,
            "dropped": train.dropped,
            "truncated": train.truncated,
            "held_out": len(held_out.rows),
            "held_out_dropped": held_out.dropped,
            **figures(trainer),
            "evaluation": evaluation,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "seconds": round(time.monotonic() - started, 1),
        },
    )
    print("done")


class Stop:
    """SIGTERM: during training it waits for the step and its checkpoint, else it ends at once."""

    def __init__(self) -> None:
        self.asked = False
        self.training = False
        signal.signal(signal.SIGTERM, self._take)

    def _take(self, *_: object) -> None:
        self.asked = True
        if not self.training:
            sys.exit(STOPPED)


# --- Data ----------------------------------------------------------------------------------------


def read_dataset(folder: Path) -> tuple[list[Row], list[Row], dict[str, str]]:
    """The pairs to train on, those held out, and the SHA-256 of each file."""
    try:
        files = json.loads((folder / "manifest.json").read_bytes())["files"]
        hashes = {name: files[name]["sha256"] for name in (TRAIN, EVAL)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(BAD_DATA, f"{folder} has no manifest: publish it first") from error
    train, held_out = (read_rows(folder / name, sha256) for name, sha256 in hashes.items())
    if not train:
        raise Refused(BAD_DATA, f"{folder} has no pairs to train on")
    return train, held_out, hashes


def read_rows(path: Path, sha256: str) -> list[Row]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refused(BAD_DATA, f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Refused(BAD_DATA, f"{path} is not what its manifest says (SHA-256)")
    rows = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            rows.append(read_row(line))
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(
                BAD_DATA,
                f"{path}, line {number} is no pair of chat messages: "
                f"{type(error).__name__}: {error}",
            ) from error
    return rows


def read_row(line: bytes) -> Row:
    """Prompt, chosen and rejected; other columns are left out.

    Raises: ValueError, KeyError, TypeError.
    """
    fields = json.loads(line)
    row: Row = {}
    for side in SIDES:
        if not isinstance(fields[side], list) or not fields[side]:
            raise ValueError(f"{side} holds no messages")
        row[side] = [{key: message[key] for key in ("role", "content")} for message in fields[side]]
        for text in (text for message in row[side] for text in message.values()):
            if not isinstance(text, str):
                raise ValueError(f"a message of {side} is no text")
            text.encode()  # half a surrogate pair is no text either
    return row


class Share(NamedTuple):
    """The rows of one file that teach something, and how many do not, or not wholly.

    Attributes:
        identical: the same text on both sides.
        dropped: the prompt alone is too long.
        truncated: the end of a response will be cut; these rows are kept.
    """

    rows: list[Row]
    identical: int
    dropped: int
    truncated: int


def prepare(rows: list[Row], tokenizer: Any, max_length: int) -> Share:
    """Make agents' text plain text and see what fits: TRL drops and cuts without a word."""
    kept: list[Row] = []
    identical = dropped = truncated = 0
    control = control_tokens(tokenizer)
    for row in (plain_text(row, control) for row in rows):
        if row["chosen"] == row["rejected"]:
            identical += 1
        elif count_tokens(tokenizer, row["prompt"], generation=True) >= max_length:
            dropped += 1
        else:
            responses = (row["prompt"] + row[side] for side in ("chosen", "rejected"))
            longest = max(count_tokens(tokenizer, messages) for messages in responses)
            truncated += longest > max_length
            kept.append(row)
    return Share(kept, identical, dropped, truncated)


def control_tokens(tokenizer: Any) -> re.Pattern[str]:
    """Matches what the tokenizer would read as control tokens, also those that have no name."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    tokens = added.union(tokenizer.all_special_tokens) - {""}
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first)) or NEVER)


def plain_text(row: Row, control: re.Pattern[str]) -> Row:
    """Break control tokens up by a space: agents' text is only text."""

    def clean(text: str) -> str:
        return control.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    return {
        side: [{key: clean(text) for key, text in message.items()} for message in messages]
        for side, messages in row.items()
    }


def count_tokens(
    tokenizer: Any, messages: list[dict[str, str]], *, generation: bool = False
) -> int:
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generation
        )
    except TemplateError as error:
        raise Refused(
            BAD_DATA, f"the base model's chat template does not take these messages: {error}"
        ) from error
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def refuse_great_loss(train: Share, max_length: int, allowed: float) -> None:
    pairs = len(train.rows) + train.dropped
    if not pairs:
        raise Refused(BAD_DATA, "every pair has the same text on both sides")
    if not train.rows or (train.dropped + train.truncated) / pairs > allowed:
        raise Refused(
            BAD_DATA,
            f"{train.dropped} of {pairs} prompts do not fit into {max_length} tokens and "
            f"{train.truncated} responses would be cut: raise --max-length or --max-lost-share",
        )


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
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        tokenizer.chat_template = FALLBACK_TEMPLATE
    return tokenizer


def longest_sequence(folder: Path, wanted: int) -> int:
    """What is wanted, or the model's context where that is shorter."""
    from transformers import AutoConfig

    with refusing_bad_model(folder):
        config = AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    return min(wanted, context or wanted)


def load_model(folder: Path, device: str, quantization: str) -> Any:
    """The base model in 4 bits (NF4, double quantised) or as it is."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    compute = torch.bfloat16 if device == "cuda" else torch.float32
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


# --- Training ------------------------------------------------------------------------------------


def training_config(args: argparse.Namespace, device: str, max_length: int) -> Any:
    from trl import DPOConfig

    return DPOConfig(
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
        max_length=max_length,
        gradient_checkpointing=device == "cuda",
        bf16=device == "cuda",
        use_cpu=device == "cpu",
        dataloader_pin_memory=device == "cuda",
        logging_steps=1,
        # Otherwise a loss that is no number is logged as the mean of those before.
        logging_nan_inf_filter=False,
        save_steps=50,
        save_total_limit=1,
        disable_tqdm=True,
    )


def make_trainer(
    args: argparse.Namespace,
    config: Any,
    device: str,
    tokenizer: Any,
    train: list[Row],
    held_out: list[Row],
) -> Any:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback, set_seed
    from trl import DPOTrainer

    model = load_model(args.base_model, device, args.quantization)
    second = args.reference == "model"
    reference = load_model(args.base_model, device, args.quantization) if second else None
    set_seed(args.seed)  # TRL 1.14 makes the adapter before it seeds
    trainer = DPOTrainer(
        model=model,
        ref_model=reference,
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


def train_in_full_precision(model: Any) -> None:
    """TRL casts the adapters of a quantised model to bfloat16, where a usual DPO step is mostly
    too small to change them, and from which a resumed training would differ.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def train_to_the_end(trainer: Any, output: Path, stop: Stop) -> None:
    """Train from the last checkpoint or the beginning. Raises: Refused."""
    from peft import load_peft_weights, set_peft_model_state_dict

    trainer.add_callback(make_recorder(output, stop))
    checkpoint, state = last_checkpoint(output / "checkpoints")
    if state is not None and state.global_step >= state.max_steps:
        # Only the end was missing. To train on would add a step.
        set_peft_model_state_dict(trainer.model, load_peft_weights(str(checkpoint)))
        trainer.state = state
        write_metrics(output, state)
        return
    if checkpoint is not None:
        print(f"going on from {checkpoint.name}")
    stop.training = True
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    stop.training = False
    if stop.asked:
        raise Refused(STOPPED, "stopped: a start with the same output goes on from here")


def last_checkpoint(folder: Path) -> tuple[Path | None, Any]:
    """The newest complete checkpoint and its state.

    The state is the last file of a checkpoint, so a kill leaves none or a part of it.
    """
    from transformers import TrainerState

    states = []
    for file in folder.glob("checkpoint-*/trainer_state.json"):
        with contextlib.suppress(ValueError):
            states.append((file.parent, TrainerState.load_from_json(str(file))))
    return max(states, key=lambda found: found[1].global_step, default=(None, None))


def make_recorder(output: Path, stop: Stop) -> Any:
    """A callback that writes `metrics.jsonl`, prints progress, checks, and stops on SIGTERM."""
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            write_metrics(output, state)

        def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            log = state.log_history[-1]
            with (output / "metrics.jsonl").open("a") as file:
                file.write(metrics_line(log, state.max_steps))
            check_log(log, pure=args.loss_type == ["sigmoid"])
            if "loss" in log:
                print(
                    f"step {log['step']}/{state.max_steps} loss {log['loss']:.4f} "
                    f"margin {log['rewards/margins']:.4f}"
                )

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if stop.asked:
                control.should_save = control.should_training_stop = True

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # A pickle that nobody reads: to go on, the trainer needs only the states.
            Path(args.output_dir, f"checkpoint-{state.global_step}", "training_args.bin").unlink()

    return Recorder()


def check_log(log: Log, *, pure: bool) -> None:
    """Raises: Refused when it is no number, or when the first step does not start from the base.

    Before the first update policy and reference are the same: margin 0 and, where the loss is
    DPO's alone (`pure`), ln 2.
    """
    for key in ("loss", "grad_norm", "eval_loss"):
        if key in log and not math.isfinite(log[key]):
            raise Refused(NOT_A_NUMBER, f"{key} is not a number: lower --learning-rate")
    if log["step"] != 1 or "loss" not in log:
        return
    loss, margin = log["loss"], log["rewards/margins"]
    if abs(margin) > 0.01 or (pure and abs(loss - LN_2) > 0.01 * LN_2):
        raise Refused(
            CHECK_FAILED,
            f"the first margin is {margin:.4f} and the loss {loss:.4f}, not 0 and ln 2: "
            "policy and reference differ before training",
        )


def is_saturated(steps: list[Log]) -> bool:
    last = steps[-SATURATED_LOGS:]
    return len(last) == SATURATED_LOGS and all(
        log["rewards/accuracies"] == 1.0 and log["rewards/margins"] > SATURATED_MARGIN
        for log in last
    )


def figures(trainer: Any) -> dict[str, Any]:
    steps = [log for log in trainer.state.log_history if "loss" in log]
    return {
        "parameters": count_parameters(trainer.model),
        "adapted_layers": sorted(trainer.model.peft_config["default"].target_modules),
        "first_loss": steps[0]["loss"],
        "first_margin": steps[0]["rewards/margins"],
        "last": finite(steps[-1]),
        "saturated": is_saturated(steps),
    }


# --- Files ---------------------------------------------------------------------------------------


def finite(log: Log) -> dict[str, float | None]:
    """JSON has no word for what is no number but null."""
    return {key: value if math.isfinite(value) else None for key, value in log.items()}


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
    trainer.model.save_pretrained(str(folder), save_embedding_layers=False)
    for key in ("is_local", "local_files_only"):  # how it was loaded, not what it is
        trainer.processing_class.init_kwargs.pop(key, None)
    trainer.processing_class.save_pretrained(str(folder))
    (folder / "README.md").unlink()  # a form that nobody filled in
    for path in folder.iterdir():
        path.chmod(0o644)


def write_result(output: Path, result: dict[str, Any]) -> None:
    """It comes last and survives a loss of power with all that it stands for."""
    adapter = output / "adapter"
    for path in (*adapter.rglob("*"), adapter, output / "metrics.jsonl"):
        sync(path)
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


def versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = ("torch", "trl", "transformers", "peft", "bitsandbytes", "datasets", "accelerate")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


if __name__ == "__main__":
    # What lies beside this file must not stand in for a library: `datasets.py` does in a checkout.
    beside = Path(__file__).resolve().parent
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != beside]
    main()
