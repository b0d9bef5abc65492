"""Traps of the libraries that no other test of this folder is about; each with what it would do."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import PAIRS, MakeDataset, Train, message, pair, response
from tests.training.test_precision import adapters
from trainer.train_dpo.model import load_model, load_tokenizer

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("training_packages")]


# --- The boundary of prompt and response ---------------------------------------------------------


@pytest.fixture
def melting(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model with one word more than bytes: two ends of line in a row."""
    folder = tmp_path / "melting"
    shutil.copytree(tiny_model, folder)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["model"]["vocab"]["ĊĊ"] = 259
    tokenizer["model"]["merges"] = [["Ċ", "Ċ"]]
    file.write_text(json.dumps(tokenizer))
    return folder


def prompt_of(trainer: Any) -> str:
    ids = trainer.train_dataset[0]["prompt_ids"]
    return str(trainer.processing_class.decode(ids))


def test_a_response_does_not_melt_into_the_prompt(
    make_trainer: Callable[..., Any], melting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = pair(1, chosen=response("\ndef f(): ..."), rejected=response("  def"))
    asked = load_tokenizer(melting).apply_chat_template(
        row["prompt"], tokenize=False, add_generation_prompt=True
    )
    cured = make_trainer([row], "--base-model", melting)
    assert prompt_of(cured) == asked
    decode = cured.processing_class.decode
    assert decode(cured.train_dataset[0]["chosen_ids"]).startswith("def f()")
    assert decode(cured.train_dataset[0]["rejected_ids"]).startswith("  def"), "it melts not"

    monkeypatch.setattr("trainer.train_dpo.data.apart_from_the_prompt", lambda row, _: row)
    uncured = make_trainer([row], "--base-model", melting)
    assert prompt_of(uncured) == asked.removesuffix("\n"), "the prompt lost its end"


# --- Seeds, steps, files -------------------------------------------------------------------------


def test_an_adapter_starts_where_the_seed_says_whatever_was_drawn_before(
    make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def start_after(drawn: int) -> dict[str, Any]:
        torch.manual_seed(drawn)
        return adapters(make_trainer([pair(0)]))

    def same() -> bool:
        first, second = start_after(1), start_after(2)
        return all(bool((first[name] == second[name]).all()) for name in first)

    assert same()
    monkeypatch.setattr("transformers.set_seed", lambda _: None)
    assert not same(), "the adapter is made before TRL seeds"


def test_batches_that_are_added_up_are_one_batch(make_trainer: Callable[..., Any]) -> None:
    """With one pair at a time, which pads least, a step is still one of several pairs."""
    rows = [pair(number, chosen=response("x" * (5 + 9 * number))) for number in range(4)]

    def step(batch: int, accumulated: int) -> dict[str, float]:
        trainer = make_trainer(
            rows, "--batch-size", batch, "--gradient-accumulation", accumulated, "--max-steps", 1,
            "--no-group-by-length", "--learning-rate", 1e-4,
        )  # fmt: skip
        trainer.train()
        log: dict[str, float] = trainer.state.log_history[0]
        return log

    whole, added = step(4, 1), step(1, 4)
    for name in ("loss", "grad_norm", "rewards/accuracies"):
        assert added[name] == pytest.approx(whole[name], rel=1e-3), name


def test_an_adapter_can_be_read_by_others(
    make_dataset: MakeDataset, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def modes(output: Path) -> set[int]:
        return {path.stat().st_mode & 0o777 for path in (output / "adapter").iterdir()}

    assert modes(train(make_dataset(), "--max-steps", 1).output) == {0o644}

    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    uncured = train(make_dataset(name="ds-000002"), "--max-steps", 1, output="uncured")
    assert modes(uncured.output) == {0o644, 0o600}


# --- Four bits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
def test_four_bits_compute_in_the_precision_of_the_weights(tiny_model: Path, weights: str) -> None:
    import torch
    from transformers import BitsAndBytesConfig

    config = load_model(tiny_model, "cpu", "nf4", weights).config.quantization_config
    assert config.bnb_4bit_compute_dtype == getattr(torch, weights)
    assert (config.bnb_4bit_quant_type, config.bnb_4bit_use_double_quant) == ("nf4", True)

    uncured = BitsAndBytesConfig(load_in_4bit=True)
    assert uncured.bnb_4bit_compute_dtype == torch.float32, "whatever the weights are"
    assert uncured.bnb_4bit_quant_type == "fp4"


# --- What the defaults would do ------------------------------------------------------------------


def test_trls_rate_hardly_moves_an_adapter(make_trainer: Callable[..., Any]) -> None:
    """Its default is one for whole models; ours is fifty times that."""
    from trl import DPOConfig

    rows = list(map(pair, range(PAIRS)))

    def margin(*rate: object) -> float:
        trainer = make_trainer(rows, "--epochs", 2, *rate)
        trainer.train()
        last = [log for log in trainer.state.log_history if "loss" in log][-1]
        return float(last["rewards/margins"])

    theirs = DPOConfig(output_dir="unused", use_cpu=True, bf16=False).learning_rate
    assert theirs == 1e-6
    assert abs(margin("--learning-rate", theirs)) < 0.01
    assert margin("--learning-rate", 5e-5) > 5 * abs(margin("--learning-rate", theirs))


def test_dropout_would_be_off_without_a_word(
    make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So none is offered."""
    import peft
    import torch

    dropping = functools.partial(peft.LoraConfig, lora_dropout=0.5)
    monkeypatch.setattr(peft, "LoraConfig", dropping)
    trainer = make_trainer([pair(0)])
    assert trainer.model.peft_config["default"].lora_dropout == 0.5
    rates = [m.p for m in trainer.model.modules() if isinstance(m, torch.nn.Dropout)]
    assert rates
    assert not any(rates)


def test_messages_of_a_template_end_where_the_template_says(
    make_trainer: Callable[..., Any], tiny_model: Path, tmp_path: Path
) -> None:
    """TRL appends no end to chat messages: a template that has none teaches to go on for ever."""
    endless = tmp_path / "endless"
    shutil.copytree(tiny_model, endless)
    (endless / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    row = pair(0, prompt=[message("Hi")])

    def ends(folder: Path) -> list[bool]:
        trainer = make_trainer([row], "--base-model", folder)
        end = trainer.processing_class.eos_token_id
        return [end in trainer.train_dataset[0][f"{side}_ids"] for side in ("chosen", "rejected")]

    assert ends(tiny_model) == [True, True]
    assert ends(endless) == [False, False]
